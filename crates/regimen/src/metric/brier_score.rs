//! The Brier score: the mean squared error of predicted probabilities.

use super::Measure;
use super::measure::counted_by_each_rank;
use super::probabilities::{Columns, Sample, SampleMean};
use crate::BoxError;
use crate::saved::{StateDict, Stateful};

/// The mean squared error of predicted probabilities (Brier, "Verification of forecasts expressed in terms of
/// probability", 1950); 0 is best.
///
/// That of a [binary](BrierScore::binary) class is the mean of (p - y)^2, from 0 to 1. That of
/// [several](BrierScore::new) is the mean of the sum over classes, from 0 to 2: twice as much for two classes, and
/// `brier_score_loss` of scikit-learn without `scale_by_half`. The relative error
/// of the mean is less than 2^-50 for up to 10^7 samples, in whatever parts they are counted.
///
/// ```
/// use regimen::metric::{BrierScore, Measure};
///
/// let (mut binary, mut several) = (BrierScore::binary(), BrierScore::new(2)?);
/// binary.update((&[0.5, 1.0], &[1, 1]))?;
/// several.update((&[0.5, 0.5, 0.0, 1.0], &[1, 1]))?;
/// assert_eq!((binary.compute(), several.compute()), (Some(0.125), Some(0.25)));
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BrierScore(SampleMean);

impl BrierScore {
    /// Of class 1 or 0: a batch has one probability for each target, that of class 1.
    pub fn binary() -> Self {
        BrierScore(SampleMean::new(Columns::One))
    }

    /// Of `classes` classes, numbered from 0: a batch has a row of probabilities for each target. Fewer than two are an
    /// error.
    pub fn new(classes: usize) -> Result<Self, BoxError> {
        Ok(BrierScore(SampleMean::new(Columns::classes(classes)?)))
    }

    /// Counts probabilities of either float type. One that is not from 0 to 1, a row whose sum is not 1 up to 0.01, and
    /// a target out of range are errors; then nothing of this call is counted.
    pub fn update_probabilities<T: Copy + Into<f64>>(
        &mut self,
        probabilities: &[T],
        targets: &[usize],
    ) -> Result<(), BoxError> {
        self.0.update(probabilities, targets, Sample::squared_error)
    }
}

/// Of probabilities and targets.
impl Measure for BrierScore {
    type Batch<'b> = (&'b [f64], &'b [usize]);

    /// Returns `None` before a sample is counted.
    type Value = Option<f64>;

    fn update(&mut self, (probabilities, targets): Self::Batch<'_>) -> Result<(), BoxError> {
        self.update_probabilities(probabilities, targets)
    }

    fn compute(&self) -> Option<f64> {
        self.0.value()
    }

    fn merge(&mut self, other: &BrierScore) -> Result<(), BoxError> {
        self.0.merge(other.0)
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

/// The sum and the samples; the classes are a setting, and a state of other classes is refused.
impl Stateful for BrierScore {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        self.0.state_dict("errors")
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.0 = self.0.loaded(dict, "errors")?;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.0.loaded(dict, "errors").map(drop)
    }

    counted_by_each_rank!();
}
