//! Step decay.

use super::{Schedule, checked_length, checked_rate};
use crate::BoxError;

/// Step decay, by a factor every n counts: `rate * factor^floor(t / every)`.
/// PyTorch's `StepLR`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepDecay {
    rate: f64,
    factor: f64,
    every: u64,
}

impl StepDecay {
    /// Starts at `rate`, and multiplies it by `factor` when the count is a multiple of `every`.
    pub fn new(rate: f64, factor: f64, every: u64) -> Result<Self, BoxError> {
        Ok(StepDecay {
            rate: checked_rate("step schedule: the rate", rate)?,
            factor: checked_rate("step schedule: the factor", factor)?,
            every: checked_length("step schedule: the number of counts between two steps", every)?,
        })
    }
}

impl Schedule for StepDecay {
    fn rate(&self, count: u64) -> f64 {
        self.rate * self.factor.powf((count / self.every) as f64)
    }
}
