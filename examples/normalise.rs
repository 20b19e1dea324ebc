//! `Normalise`: the mean and the deviation of each feature, measured on the training samples alone,
//! and applied to every set.

use regimen::data::Dataset;
use regimen::{BoxError, Fit, Run};
use regimen_examples::digits::{Digits, Image, Split};
use regimen_examples::reading::{EVAL_ACCURACY, loader, unit};

/// Shifts and scales each feature to mean 0 and deviation 1.
#[derive(Clone, Debug)]
struct Normalise {
    mean: Vec<f32>,
    deviation: Vec<f32>,
}

impl Normalise {
    /// Measured on all samples of `dataset`, one after another (Welford's sums in double precision).
    fn fit(dataset: &impl Dataset<Item = Image>) -> Result<Self, BoxError> {
        let (mut means, mut squares) = (Vec::new(), Vec::new());
        for index in 0..dataset.len() {
            let (features, _) = dataset.sample(index)?;
            means.resize(features.len(), 0.0);
            squares.resize(features.len(), 0.0);
            for ((mean, square), &feature) in means.iter_mut().zip(&mut squares).zip(&features) {
                let before = f64::from(feature) - *mean;
                *mean += before / (index + 1) as f64;
                *square += before * (f64::from(feature) - *mean);
            }
        }
        let deviation = |square: &f64| ((square / dataset.len() as f64).sqrt() as f32).max(1e-6);
        Ok(Normalise {
            deviation: squares.iter().map(deviation).collect(),
            mean: means.into_iter().map(|mean| mean as f32).collect(),
        })
    }

    fn apply(&self, (mut features, digit): Image) -> Image {
        for (feature, (mean, deviation)) in features.iter_mut().zip(self.mean.iter().zip(&self.deviation)) {
            *feature = (*feature - mean) / deviation;
        }
        (features, digit)
    }
}

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
    let normalise = Normalise::fit(&train)?;
    let without = accuracy(train.clone(), validation.clone())?;
    let other = normalise.clone();
    let with = accuracy(
        train.map(move |image| normalise.apply(image)),
        validation.map(move |image| other.apply(image)),
    )?;
    println!("accuracy with features as they are: {without:.4}; normalised: {with:.4}");
    if with > 0.9 { Ok(()) } else { Err("the network has not learned to read".into()) }
}
