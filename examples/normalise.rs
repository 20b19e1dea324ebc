//! `Normalise`: subtracts the mean of each feature and divides by its standard deviation. Both are
//! fitted on the training samples alone, and applied to every set.

use regimen::data::{Dataset, Normalise};
use regimen::{BoxError, Fit, Run};
use regimen_examples::digits::{Digits, Image, Split};
use regimen_examples::reading::{EVAL_ACCURACY, loader, unit};

fn accuracy(
    train: impl Dataset<Item = Image> + 'static,
    validation: impl Dataset<Item = Image> + 'static,
) -> Result<f64, BoxError> {
    let mut unit = unit(7)?;
    let report = Run::new(&mut unit).fit(&loader(train), &loader(validation), Fit::epochs(5))?;
    Ok(report.metric(EVAL_ACCURACY).ok_or("the accuracy was not measured")?)
}

/// Features as sensors give them: on another scale and with another offset each.
fn raw((mut features, digit): Image) -> Image {
    features
        .iter_mut()
        .enumerate()
        .for_each(|(i, feature)| *feature = *feature * (1 << (i % 8)) as f32 + 100.0);
    (features, digit)
}

fn main() -> Result<(), BoxError> {
    let Split { train, validation, .. } = Digits::bundled()?.split();
    let (train, validation) = (train.map(raw), validation.map(raw));
    let normalise = Normalise::fit(&train, |(features, _)| features)?;
    let without = accuracy(train.clone(), validation.clone())?;
    let apply = move |(mut features, digit): Image| {
        normalise.apply(&mut features)?;
        Ok((features, digit))
    };
    let with = accuracy(train.try_map(apply.clone()), validation.try_map(apply))?;
    println!("accuracy with features as they are: {without:.4}; normalised: {with:.4}");
    if with > 0.9 { Ok(()) } else { Err("the network has not learned to read".into()) }
}
