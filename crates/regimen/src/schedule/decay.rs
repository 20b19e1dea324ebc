//! Decay by a factor: per step of counts, at milestones, or per count.

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
