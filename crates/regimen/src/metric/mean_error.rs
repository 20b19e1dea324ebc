//! Mean errors of predicted numbers: squared, absolute, and relative.

use super::Measure;
use super::kind::{check_kind, check_same_kind};
use super::mean::Mean;
use super::measure::counted_by_each_rank;
use super::numbers::pairs;
use crate::BoxError;
use crate::saved::{Array, StateDict, Stateful};

/// The mean error of predicted numbers, in one of four senses.
///
/// Values are those of `sklearn.metrics`. Their relative error is less than 2^-50 for up to 10^7 samples, however they
/// are split into batches and ranks. A sum of errors or a square beyond the range of `f64` makes the value infinite; squares
/// below 1e-300 lose digits.
///
/// ```
/// use regimen::metric::{MeanError, Measure};
///
/// let mut mae = MeanError::mae();
/// mae.update((&[2.5, 0.0, 2.0], &[3.0, -0.5, 2.0]))?;
/// assert_eq!(mae.compute(), Some(1.0 / 3.0));
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanError {
    kind: Kind,
    errors: Mean,
}

/// The names of the sum and of the count in a state.
const ARRAYS: [&str; 2] = ["sum", "count"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Mse,
    Rmse,
    Mae,
    Mape,
}

impl MeanError {
    /// The mean squared error: the mean of (prediction - target)^2.
    pub fn mse() -> Self {
        MeanError::of(Kind::Mse)
    }

    /// The root of the mean squared error, in the unit of the targets.
    pub fn rmse() -> Self {
        MeanError::of(Kind::Rmse)
    }

    /// The mean absolute error: the mean of |prediction - target|.
    pub fn mae() -> Self {
        MeanError::of(Kind::Mae)
    }

    /// The mean absolute percentage error, as a share: the mean of |prediction - target| / |target|. It is 1 if
    /// every prediction is wrong by its whole target.
    ///
    /// A target nearer to 0 than 2^-52 counts as 2^-52, as in scikit-learn. It makes the value huge: leave such targets
    /// out, or use another error.
    pub fn mape() -> Self {
        MeanError::of(Kind::Mape)
    }

    fn of(kind: Kind) -> Self {
        MeanError { kind, errors: Mean::default() }
    }

    /// Counts numbers of type `f32` or `f64`, as [`update`](Measure::update) does.
    pub fn update_values<T: Copy + Into<f64>>(
        &mut self,
        predictions: &[T],
        targets: &[T],
    ) -> Result<(), BoxError> {
        let kind = self.kind;
        let error = |(prediction, target): (f64, f64)| match kind {
            Kind::Mse | Kind::Rmse => (prediction - target) * (prediction - target),
            Kind::Mae => (prediction - target).abs(),
            Kind::Mape => (prediction - target).abs() / target.abs().max(f64::EPSILON),
        };
        pairs(predictions, targets)?.map(error).for_each(|error| self.errors.add(error));
        Ok(())
    }

    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Mse => "mse",
            Kind::Rmse => "rmse",
            Kind::Mae => "mae",
            Kind::Mape => "mape",
        }
    }
}

/// Of predictions and targets, as many of each. A number that is infinite or NaN is an error.
impl Measure for MeanError {
    type Batch<'b> = (&'b [f64], &'b [f64]);

    /// Returns `None` before anything is counted.
    type Value = Option<f64>;

    fn update(&mut self, (predictions, targets): Self::Batch<'_>) -> Result<(), BoxError> {
        self.update_values(predictions, targets)
    }

    fn compute(&self) -> Option<f64> {
        let mean = self.errors.value()?;
        Some(if self.kind == Kind::Rmse { mean.sqrt() } else { mean })
    }

    fn merge(&mut self, other: &MeanError) -> Result<(), BoxError> {
        check_same_kind(self.name(), other.name())?;
        self.errors.merge(other.errors);
        Ok(())
    }

    fn reset(&mut self) {
        *self = MeanError::of(self.kind);
    }
}

/// The count and the sum of errors; one of another kind is refused.
impl Stateful for MeanError {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("kind", Array::from_text(self.name()))?;
        self.errors.insert_into(&mut dict, ARRAYS)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        check_kind(dict, self.name())?;
        self.errors = Mean::from_state(dict, ARRAYS)?;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        let mut loaded = *self;
        loaded.load_state_dict(dict)
    }

    counted_by_each_rank!();
}
