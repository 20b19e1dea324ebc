//! Statistics of numbers, counted as they come.

use super::Measure;
use super::measure::counted_by_each_rank;
use super::moments::Moments;
use super::numbers::finite;
use crate::BoxError;
use crate::saved::{StateDict, Stateful};

/// The count, mean, variance, minimum and maximum of numbers.
///
/// Batches are merged by the formula of Chan, Golub and LeVeque (1983). The relative error of the variance of k
/// batches is about k c 2^-53, where the condition c is the root of 1 + mean^2 / variance. The error of the mean is
/// about k 2^-53 of the largest magnitude. Numbers beyond 1e150 overflow, and give an infinite variance or NaN.
///
/// ```
/// use regimen::metric::{Measure, Running};
///
/// let mut running = Running::new();
/// running.update(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0])?;
/// running.update(&[7.0, 9.0])?;
/// assert_eq!((running.count(), running.compute(), running.variance()), (8, Some(5.0), Some(4.0)));
/// assert_eq!((running.min(), running.max()), (Some(2.0), Some(9.0)));
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Running {
    moments: Moments<1>,
    min: f64,
    max: f64,
}

impl Running {
    /// One that has counted nothing.
    pub fn new() -> Self {
        Running { moments: Moments::EMPTY, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }

    /// Counts numbers of type `f32` or `f64`, as [`update`](Measure::update) does.
    pub fn update_values<T: Copy + Into<f64>>(&mut self, values: &[T]) -> Result<(), BoxError> {
        let values = finite("value", values)?;
        self.moments.merge(&Moments::of(values.clone().map(|value| [value])));
        self.min = values.clone().fold(self.min, f64::min);
        self.max = values.fold(self.max, f64::max);
        Ok(())
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        self.moments.count
    }

    /// The mean squared deviation from the mean: the variance of a population, divided by the count. Returns `None`
    /// before a value is counted.
    pub fn variance(&self) -> Option<f64> {
        self.if_counted(self.moments.products[0][0] / self.count() as f64)
    }

    /// The variance estimated from a sample, divided by the count less 1. Returns `None` for fewer than 2 values.
    pub fn sample_variance(&self) -> Option<f64> {
        (self.count() > 1).then(|| self.moments.products[0][0] / (self.count() - 1) as f64)
    }

    /// The smallest value. Returns `None` before a value is counted.
    pub fn min(&self) -> Option<f64> {
        self.if_counted(self.min)
    }

    /// The largest value. Returns `None` before a value is counted.
    pub fn max(&self) -> Option<f64> {
        self.if_counted(self.max)
    }

    fn if_counted(&self, value: f64) -> Option<f64> {
        (self.count() > 0).then_some(value)
    }
}

impl Default for Running {
    /// One that has counted nothing.
    fn default() -> Self {
        Running::new()
    }
}

/// Of values. One that is infinite or NaN is an error.
impl Measure for Running {
    type Batch<'b> = &'b [f64];

    /// The mean. Returns `None` before a value is counted.
    type Value = Option<f64>;

    fn update(&mut self, values: &[f64]) -> Result<(), BoxError> {
        self.update_values(values)
    }

    fn compute(&self) -> Option<f64> {
        self.if_counted(self.moments.means[0])
    }

    fn merge(&mut self, other: &Running) -> Result<(), BoxError> {
        self.moments.merge(&other.moments);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        Ok(())
    }

    fn reset(&mut self) {
        *self = Running::new();
    }
}

/// The count, the mean, the sum of squares, the minimum and the maximum.
impl Stateful for Running {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        self.moments.insert_into(&mut dict)?;
        dict.insert("min", self.min)?;
        dict.insert("max", self.max)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let loaded =
            Running { moments: Moments::from_state(dict)?, min: dict.get("min")?, max: dict.get("max")? };
        if loaded.min.is_nan() || loaded.max.is_nan() {
            return Err("the minimum or maximum is NaN; it is damaged".into());
        }
        *self = loaded;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        Running::new().load_state_dict(dict)
    }

    counted_by_each_rank!();
}
