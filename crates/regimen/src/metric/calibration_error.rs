//! The calibration error: how far predicted probabilities are from the shares that came true.

use super::measure::counted_by_each_rank;
use super::probabilities::{Columns, bin};
use super::sum::Sum;
use super::{Measure, sum_of_counts};
use crate::BoxError;
use crate::saved::{Array, StateDict, Stateful};

/// The expected calibration error (Guo et al., "On calibration of modern neural networks", 2017): samples are put into
/// bins by the probability of their predicted class, and the value is the mean of |accuracy - mean probability| over
/// bins, weighted by their samples. [`maximum`](CalibrationError::maximum) is the largest of these differences.
///
/// Bins are of equal width over 0 to 1. A probability at an edge is in the bin above it, as in torchmetrics; the paper
/// puts it below. Of equal probabilities the class with the lower number is the predicted one. torchmetrics takes the
/// probability of class 1 for a binary class; this is that of the predicted class there too.
///
/// Counts are exact, and so is the sum of the probabilities of a bin but for its last bit.
///
/// ```
/// use regimen::metric::{CalibrationError, Measure};
///
/// let mut error = CalibrationError::binary(10)?;
/// error.update((&[0.75, 0.75, 0.75, 0.75, 1.0], &[1, 1, 1, 0, 0]))?;
/// assert_eq!((error.compute(), error.maximum()), (Some(0.2), Some(1.0)));
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct CalibrationError {
    columns: Columns,
    bins: Vec<Bin>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bin {
    samples: u64,
    correct: u64,
    probabilities: Sum,
}

const MOST: usize = 1 << 20;

impl CalibrationError {
    /// Of class 1 or 0: a batch has one probability for each target, that of class 1. 0 bins are an error, and so are
    /// more than 2^20.
    pub fn binary(bins: usize) -> Result<Self, BoxError> {
        if bins == 0 || bins > MOST {
            return Err(format!("a calibration error of {bins} bins; give 1 to {MOST}").into());
        }
        Ok(CalibrationError { columns: Columns::One, bins: vec![Bin::default(); bins] })
    }

    /// Of `classes` classes, numbered from 0: a batch has a row of probabilities for each target. Fewer than two are an
    /// error too.
    pub fn new(classes: usize, bins: usize) -> Result<Self, BoxError> {
        Ok(CalibrationError { columns: Columns::classes(classes)?, ..CalibrationError::binary(bins)? })
    }

    /// Counts probabilities of either float type. One that is not from 0 to 1, a row whose sum is not 1 up to 0.01, and
    /// a target out of range are errors; then nothing of this call is counted.
    pub fn update_probabilities<T: Copy + Into<f64>>(
        &mut self,
        probabilities: &[T],
        targets: &[usize],
    ) -> Result<(), BoxError> {
        for sample in self.columns.samples(probabilities, targets)? {
            let (class, probability) = sample.predicted();
            let bin = bin(probability, self.bins.len());
            let bin = &mut self.bins[bin];
            bin.samples += 1;
            bin.correct += u64::from(class == sample.target);
            bin.probabilities.add(probability);
        }
        Ok(())
    }

    /// The largest difference of a bin that has samples. Returns `None` if no bin has.
    pub fn maximum(&self) -> Option<f64> {
        let gaps = self.bins.iter().filter(|bin| bin.samples > 0);
        gaps.map(|bin| bin.gap() / bin.samples as f64).reduce(f64::max)
    }
}

impl Bin {
    /// |accuracy - mean probability|, times the samples.
    fn gap(&self) -> f64 {
        (self.correct as f64 - self.probabilities.value()).abs()
    }
}

/// Of probabilities and targets.
impl Measure for CalibrationError {
    type Batch<'b> = (&'b [f64], &'b [usize]);

    /// The expected calibration error, from 0 to 1. Returns `None` before a sample is counted.
    type Value = Option<f64>;

    fn update(&mut self, (probabilities, targets): Self::Batch<'_>) -> Result<(), BoxError> {
        self.update_probabilities(probabilities, targets)
    }

    fn compute(&self) -> Option<f64> {
        let samples: u64 = self.bins.iter().map(|bin| bin.samples).sum();
        (samples > 0).then(|| self.bins.iter().map(Bin::gap).sum::<f64>() / samples as f64)
    }

    fn merge(&mut self, other: &CalibrationError) -> Result<(), BoxError> {
        self.columns.check_same(other.columns)?;
        if self.bins.len() != other.bins.len() {
            let (ours, theirs) = (self.bins.len(), other.bins.len());
            return Err(format!("calibration errors of {ours} and {theirs} bins cannot be merged").into());
        }
        for (ours, theirs) in self.bins.iter_mut().zip(&other.bins) {
            ours.samples += theirs.samples;
            ours.correct += theirs.correct;
            ours.probabilities.merge(theirs.probabilities);
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.bins.fill(Bin::default());
    }
}

/// The counts and sums of the bins; classes and bins are settings, and a state of others is refused.
impl Stateful for CalibrationError {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let of = |count: fn(&Bin) -> u64| Array::from_slice(&self.bins.iter().map(count).collect::<Vec<_>>());
        let mut sums = Vec::with_capacity(2 * self.bins.len());
        for bin in &self.bins {
            sums.extend(Array::from(bin.probabilities).to_vec::<f64>()?);
        }
        let mut dict = StateDict::new();
        dict.insert("columns", self.columns.count() as u64)?;
        dict.insert("samples", of(|bin| bin.samples))?;
        dict.insert("correct", of(|bin| bin.correct))?;
        dict.insert("probabilities", Array::from_slice(&sums))?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.check_state_dict(dict)?;
        let samples = dict.array("samples")?.to_vec::<u64>()?;
        let correct = dict.array("correct")?.to_vec::<u64>()?;
        let sums = dict.array("probabilities")?.to_vec::<f64>()?;
        let bin = |((&samples, &correct), sum): ((&u64, &u64), &[f64])| {
            if correct > samples {
                return Err(BoxError::from("a bin has more correct samples than samples; it is damaged"));
            }
            Ok(Bin { samples, correct, probabilities: Sum::try_from(&Array::from_slice(sum))? })
        };
        samples.iter().try_fold(0, |sum, &samples| sum_of_counts(sum, samples))?;
        let bins = samples.iter().zip(&correct).zip(sums.chunks_exact(2)).map(bin);
        self.bins = bins.collect::<Result<_, _>>()?;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.columns.check_state(dict)?;
        self.state_dict()?.check_same_layout(dict)
    }

    counted_by_each_rank!();
}
