//! Cross-validation: one training per fold, each evaluated on the samples it did not see.

use regimen::data::Dataset;
use regimen::{BoxError, Fit, Run};
use regimen_examples::digits::Digits;
use regimen_examples::reading::{EVAL_ACCURACY, loader, unit};

const FOLDS: usize = 5;

fn main() -> Result<(), BoxError> {
    let digits = Digits::bundled()?.images;
    let mut accuracies = Vec::new();
    for fold in 0..FOLDS {
        let (held_out, rest): (Vec<_>, Vec<_>) = (0..digits.len()).partition(|index| index % FOLDS == fold);
        let (train, validation) = (digits.clone().subset(rest)?, digits.clone().subset(held_out)?);
        let mut unit = unit(fold as u64)?;
        let report = Run::new(&mut unit).seed(7).fit(&loader(train), &loader(validation), Fit::epochs(5))?;
        let accuracy = report.metric(EVAL_ACCURACY).ok_or("the accuracy was not measured")?;
        println!("fold {fold}: accuracy {accuracy:.4}");
        accuracies.push(accuracy);
    }
    let mean = accuracies.iter().sum::<f64>() / FOLDS as f64;
    let variance = accuracies.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / (FOLDS - 1) as f64;
    println!("accuracy over {FOLDS} folds: {mean:.4} with a standard deviation of {:.4}", variance.sqrt());
    if mean > 0.9 { Ok(()) } else { Err("the networks have not learned to read".into()) }
}
