//! A `FitLoop` with all its stages and calls: a convolutional network reads handwritten digits, on Burn.

#[path = "digits/loaders.rs"]
mod loaders;

use std::io::stdout;
use std::process::ExitCode;

use regimen::BoxError;
use regimen::fitloop::{FitLoop, FitTable, Set, max, record};
use regimen_burn::burn::optim::AdamConfig;
use regimen_burn::burn::tensor::Tensor;
use regimen_burn::{Burn, correct, cross_entropy, device, initialize};
use regimen_examples::args::Args;
use regimen_examples::digits::Split;
use regimen_examples::network::ConvNet;

use loaders::{eval_loader, train_loader};

fn main() -> ExitCode {
    match run(&Args::parse_with([("epochs", "4")])) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), BoxError> {
    let (device, digits) = (device(&args.device)?, args.digits()?);
    let side = digits.side;
    let Split { train, validation, test } = digits.split();
    let [valid, test] = [validation, test].map(|images| eval_loader(images, side, args));
    let train = train_loader(train, side, args);

    let network = initialize(args.seed, &device, |device| ConvNet::new(side, device))?;
    let engine = Burn::new(network, AdamConfig::new().init(), &device)?;
    let mut trainer = FitLoop::new(engine, |net, images: &Tensor<3>| net.forward(images.clone()), cross_entropy)
        .train_data(train)
        .valid_data(valid)
        .test_data(test)
        .step(|s| {
            let logits = s.output();
            Ok((s.loss(&logits)?, record! { running_correct: correct(1, &logits, &s.batch().1) }))
        })
        .epoch_end(|s| Ok(record! { loss: s.mean("loss")?, accuracy: s.sum("running_correct")? / s.size() }))
        .criteria(max("accuracy"))
        .learning_rate(args.lr)
        .seed(args.seed)
        .callback(FitTable::to(stdout()));
    println!("accuracy before: {:?}", trainer.record(Set::Valid));
    let (checked, tested) = trainer.sanity_check(1, 3)?;
    println!("{checked}\n{}", tested.map_or_else(String::new, |report| report.to_string()));
    trainer.fit(args.epochs)?;
    trainer.test()?;
    Ok(())
}
