//! The log loss: the cross-entropy of predicted probabilities.

use super::Measure;
use super::measure::counted_by_each_rank;
use super::probabilities::{Columns, SampleMean};
use crate::BoxError;
use crate::saved::{StateDict, Stateful};

/// The mean of -ln p, with the probability p that was predicted for the target: the cross-entropy in nats; 0 is best.
///
/// A p below 2^-52 counts as 2^-52, as in `log_loss` of scikit-learn for 64-bit floats, so that one sample costs at
/// most 36.05. The relative error
/// of the mean is less than 2^-50 for up to 10^7 samples, in whatever parts they are counted.
///
/// ```
/// use regimen::metric::{LogLoss, Measure};
///
/// let (mut binary, mut several) = (LogLoss::binary(), LogLoss::new(3)?);
/// binary.update((&[0.5, 1.0], &[0, 1]))?;
/// several.update((&[0.5, 0.25, 0.25], &[0]))?;
/// assert_eq!((binary.compute(), several.compute()), (Some(0.5_f64.ln() / -2.0), Some(-0.5_f64.ln())));
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogLoss(SampleMean);

impl LogLoss {
    /// Of class 1 or 0: a batch has one probability for each target, that of class 1.
    pub fn binary() -> Self {
        LogLoss(SampleMean::new(Columns::One))
    }

    /// Of `classes` classes, numbered from 0: a batch has a row of probabilities for each target. Fewer than two are an
    /// error.
    pub fn new(classes: usize) -> Result<Self, BoxError> {
        Ok(LogLoss(SampleMean::new(Columns::classes(classes)?)))
    }

    /// Counts probabilities of either float type. One that is not from 0 to 1, a row whose sum is not 1 up to 0.01, and
    /// a target out of range are errors; then nothing of this call is counted.
    pub fn update_probabilities<T: Copy + Into<f64>>(
        &mut self,
        probabilities: &[T],
        targets: &[usize],
    ) -> Result<(), BoxError> {
        self.0.update(probabilities, targets, |sample| -sample.of_target().max(f64::EPSILON).ln())
    }
}

/// Of probabilities and targets.
impl Measure for LogLoss {
    type Batch<'b> = (&'b [f64], &'b [usize]);

    /// Returns `None` before a sample is counted.
    type Value = Option<f64>;

    fn update(&mut self, (probabilities, targets): Self::Batch<'_>) -> Result<(), BoxError> {
        self.update_probabilities(probabilities, targets)
    }

    fn compute(&self) -> Option<f64> {
        self.0.value()
    }

    fn merge(&mut self, other: &LogLoss) -> Result<(), BoxError> {
        self.0.merge(other.0)
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

/// The sum and the samples; the classes are a setting, and a state of other classes is refused.
impl Stateful for LogLoss {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        self.0.state_dict("losses")
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.0 = self.0.loaded(dict, "losses")?;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.0.loaded(dict, "losses").map(drop)
    }

    counted_by_each_rank!();
}
