//! Fine-tuning: a network that has learned to read the digits 0 to 4 learns 5 to 9. Its hidden layer
//! is taken from a checkpoint and frozen for five epochs; its output layer begins anew.

use regimen::auto_unit::Thaw;
use regimen::checkpoint::{Checkpointer, Load};
use regimen::{AutoUnit, BoxError, Fit, Run};
use regimen_burn::burn::optim::AdamConfig;
use regimen_burn::{Burn, device, initialize, named};
use regimen_examples::digits::{Digits, Image, Split};
use regimen_examples::reading::{EVAL_ACCURACY, Mlp, ReadDigits, loader, unit};

/// The images of the digits 0 to 4, or of the others.
fn half(images: &[Image], low: bool) -> Vec<Image> {
    images.iter().filter(|(_, digit)| (*digit < 5) == low).cloned().collect()
}

fn main() -> Result<(), BoxError> {
    // Each call begins from nothing.
    let _ = std::fs::remove_dir_all("runs/pretrained");
    let Split { train, validation, .. } = Digits::bundled()?.split();
    let mut pretrained = unit(7)?;
    let mut run = Run::new(&mut pretrained).saver(Checkpointer::new("runs/pretrained"));
    run.fit(&loader(half(&train, true)), &loader(half(&validation, true)), Fit::epochs(10))?;

    let cpu = device("cpu")?;
    let network = initialize(8, &cpu, Mlp::new)?;
    let backbone = named(&network, |path| path.starts_with("hidden."))?;
    let engine = Burn::new(network, AdamConfig::new().init(), &cpu)?.group("backbone", backbone)?;
    let mut unit = AutoUnit::new(engine, ReadDigits)
        .learning_rate(5e-3)
        .scale_learning_rate("backbone", 0.1)
        .freeze("backbone", Thaw::AtEpoch(5));
    let loaded = Load::from("runs/pretrained")
        .part("module")
        .rename("output.", "old.")
        .lenient()
        .into_unit(&mut unit)?;
    println!("loaded: {}; new: {}", loaded.loaded.join(", "), loaded.missing.join(", "));

    let mut run = Run::new(&mut unit);
    let report = run.fit(&loader(half(&train, false)), &loader(half(&validation, false)), Fit::epochs(40))?;
    let accuracy = report.metric(EVAL_ACCURACY).ok_or("the accuracy was not measured")?;
    println!("accuracy on 5 to 9 after fine-tuning: {accuracy:.4}");
    if accuracy > 0.9 { Ok(()) } else { Err("the network has not learned to read".into()) }
}
