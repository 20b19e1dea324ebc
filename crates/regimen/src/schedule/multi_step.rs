//! Multi-step decay.

use super::{Schedule, checked_rate};
use crate::BoxError;

/// Multi-step decay, by a factor at each milestone:
/// `rate * factor^(number of milestones <= t)`. PyTorch's `MultiStepLR`.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiStep {
    rate: f64,
    factor: f64,
    milestones: Vec<u64>,
}

impl MultiStep {
    /// Starts at `rate`, and multiplies it by `factor` at each of `milestones`, in any order. A
    /// repeated milestone multiplies twice. Without milestones the rate is constant.
    pub fn new(rate: f64, factor: f64, milestones: impl IntoIterator<Item = u64>) -> Result<Self, BoxError> {
        let mut milestones: Vec<u64> = milestones.into_iter().collect();
        milestones.sort_unstable();
        let rate = checked_rate("multi-step schedule: the rate", rate)?;
        let factor = checked_rate("multi-step schedule: the factor", factor)?;
        Ok(MultiStep { rate, factor, milestones })
    }
}

impl Schedule for MultiStep {
    fn rate(&self, count: u64) -> f64 {
        let passed = self.milestones.partition_point(|&milestone| milestone <= count);
        self.rate * self.factor.powf(passed as f64)
    }
}
