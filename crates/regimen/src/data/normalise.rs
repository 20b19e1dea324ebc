//! Normalisation of features.

use regimen_core::BoxError;
use regimen_core::saved::{Array, StateDict, Stateful};
use regimen_core::text::Count;

use super::dataset::Dataset;
use super::fault::SampleError;

/// Normalises features: subtracts their mean and divides by their standard deviation.
///
/// As a field of a unit it is part of its checkpoints, so another program normalises its inputs by
/// the numbers of the training.
///
/// ```
/// use regimen::data::{Dataset, Normalise};
/// # fn main() -> Result<(), regimen::BoxError> {
/// let train = vec![([1.0_f32, 10.0], 'a'), ([3.0, 30.0], 'b')];
/// let normalise = Normalise::fit(&train, |(features, _)| features)?;
/// assert_eq!((normalise.mean(), normalise.deviation()), (&[2.0, 20.0][..], &[1.0, 10.0][..]));
///
/// let train = train.try_map(move |(mut features, label)| {
///     normalise.apply(&mut features)?;
///     Ok((features, label))
/// });
/// assert_eq!(train.sample(1)?, ([1.0, 1.0], 'b'));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Normalise {
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

impl Normalise {
    /// Changes nothing: `features` features of mean 0 and deviation 1. To restore a saved one into.
    pub fn identity(features: usize) -> Self {
        Normalise { mean: vec![0.0; features], deviation: vec![1.0; features] }
    }

    /// The mean and the deviation of each feature over all samples of `dataset`, in one pass.
    /// `features` borrows the features of a sample.
    ///
    /// The deviation is that of the population (divided by the number of samples). It is 1 for a
    /// feature that is constant. Errors: no sample, samples of different numbers of features, and
    /// values that are not finite.
    pub fn fit<D: Dataset>(dataset: &D, features: impl Fn(&D::Item) -> &[f32]) -> Result<Self, BoxError> {
        let (mut mean, mut squares) = (Vec::new(), Vec::new());
        for index in 0..dataset.len() {
            let add = |sample: D::Item| {
                let values = features(&sample);
                if index == 0 {
                    (mean, squares) = (vec![0.0; values.len()], vec![0.0; values.len()]);
                }
                check_len(values.len(), mean.len())?;
                for (number, &value) in values.iter().enumerate() {
                    if !value.is_finite() {
                        return Err(format!("feature {number} is {value}").into());
                    }
                    // Welford, "Note on a method for calculating corrected sums" (1962): no
                    // difference of two large sums, so an offset costs no digits.
                    let from_mean = f64::from(value) - mean[number];
                    mean[number] += from_mean / (index + 1) as f64;
                    squares[number] += from_mean * (f64::from(value) - mean[number]);
                }
                Ok(())
            };
            let added = dataset.sample(index).and_then(add);
            added.map_err(|error| SampleError::new(dataset.name(), index, error))?;
        }
        if dataset.is_empty() {
            return Err(format!("dataset `{}` has no sample to normalise by", dataset.name()).into());
        }
        let deviation = squares.iter().map(|sum| (sum / dataset.len() as f64).sqrt());
        let deviation = deviation.map(|deviation| if deviation > 0.0 { deviation } else { 1.0 }).collect();
        Ok(Normalise { mean, deviation })
    }

    /// The mean of each feature.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The standard deviation of each feature: above 0.
    pub fn deviation(&self) -> &[f64] {
        &self.deviation
    }

    /// Normalises the features of one sample in place. Fails if their number is another.
    pub fn apply(&self, features: &mut [f32]) -> Result<(), BoxError> {
        check_len(features.len(), self.mean.len())?;
        for ((value, mean), deviation) in features.iter_mut().zip(&self.mean).zip(&self.deviation) {
            *value = ((f64::from(*value) - mean) / deviation) as f32;
        }
        Ok(())
    }
}

fn check_len(has: usize, expected: usize) -> Result<(), BoxError> {
    let count = Count(has as u64, "feature");
    if has == expected { Ok(()) } else { Err(format!("{count} instead of {expected}").into()) }
}

impl Stateful for Normalise {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("mean", Array::from_slice(&self.mean))?;
        dict.insert("deviation", Array::from_slice(&self.deviation))?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.check_state_dict(dict)?;
        let (mean, deviation) = (dict.array("mean")?.to_vec()?, dict.array("deviation")?.to_vec()?);
        let is_deviation = |value: &f64| value.is_finite() && *value > 0.0;
        if !mean.iter().all(|value: &f64| value.is_finite()) || !deviation.iter().all(is_deviation) {
            return Err("a mean or deviation that features cannot be normalised by".into());
        }
        *self = Normalise { mean, deviation };
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.state_dict()?.check_same_layout(dict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_has_the_mean_and_deviation_of_two_passes_at_any_offset() {
        for offset in [0.0_f32, 1e6, -3e6] {
            let samples: Vec<Vec<f32>> =
                (0..999).map(|i| vec![offset + (i * i % 17) as f32, (i as f32).sin()]).collect();
            let fitted = Normalise::fit(&samples, |sample| sample).unwrap();
            for feature in 0..2 {
                let values: Vec<f64> = samples.iter().map(|sample| sample[feature].into()).collect();
                let mean = values.iter().sum::<f64>() / 999.0;
                let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 999.0;
                assert!((fitted.mean()[feature] - mean).abs() < 1e-9 * (1.0 + mean.abs()));
                assert!((fitted.deviation()[feature] - variance.sqrt()).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn a_constant_feature_becomes_zero() {
        let fitted = Normalise::fit(&vec![[7.0], [7.0]], |sample| sample).unwrap();
        let mut sample = [7.0];
        fitted.apply(&mut sample).unwrap();
        assert_eq!((sample, fitted.deviation()), ([0.0], [1.0].as_slice()));
    }

    #[test]
    fn a_restored_one_is_the_one_that_was_saved() {
        let fitted = Normalise::fit(&vec![[1.0, 5.0], [2.0, 7.0]], |sample| sample).unwrap();
        let mut restored = Normalise::identity(2);
        restored.load_state_dict(&fitted.state_dict().unwrap()).unwrap();
        assert_eq!(restored, fitted);
        assert!(Normalise::identity(3).load_state_dict(&fitted.state_dict().unwrap()).is_err());
        let mut damaged = fitted.state_dict().unwrap();
        damaged.remove("deviation").unwrap();
        damaged.insert("deviation", Array::from_slice(&[1.0_f64, 0.0])).unwrap();
        let error = restored.load_state_dict(&damaged).unwrap_err();
        assert_eq!(error.to_string(), "a mean or deviation that features cannot be normalised by");
        assert_eq!(restored, fitted);
    }

    #[test]
    fn samples_that_cannot_be_normalised_are_named() {
        let check = |samples: Vec<Vec<f32>>, expected: &str| {
            let error = Normalise::fit(&samples, |sample| sample).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(vec![], "dataset `vec` has no sample to normalise by");
        check(vec![vec![1.0], vec![1.0, 2.0]], "dataset `vec` sample 1: 2 features instead of 1");
        check(vec![vec![0.0, f32::NAN]], "dataset `vec` sample 0: feature 1 is NaN");
        let error = Normalise::identity(2).apply(&mut [1.0]).unwrap_err();
        assert_eq!(error.to_string(), "1 feature instead of 2");
    }
}
