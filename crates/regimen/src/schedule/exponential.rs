//! Exponential decay.

use super::{Schedule, checked_rate};
use crate::BoxError;

/// Exponential decay, by a factor per count: `rate * factor^t`. PyTorch's `ExponentialLR`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exponential {
    rate: f64,
    factor: f64,
}

impl Exponential {
    /// Starts at `rate`, and multiplies it by `factor` at every count.
    pub fn new(rate: f64, factor: f64) -> Result<Self, BoxError> {
        let rate = checked_rate("exponential schedule: the rate", rate)?;
        let factor = checked_rate("exponential schedule: the factor", factor)?;
        Ok(Exponential { rate, factor })
    }
}

impl Schedule for Exponential {
    fn rate(&self, count: u64) -> f64 {
        self.rate * self.factor.powf(count as f64)
    }
}
