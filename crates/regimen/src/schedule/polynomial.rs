//! Polynomial decay.

use super::{Schedule, checked_length, checked_rate, fraction};
use crate::BoxError;

/// Polynomial decay to 0, where it stays: `rate * (1 - min(t, length) / length)^power`.
/// PyTorch's `PolynomialLR`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Polynomial {
    rate: f64,
    power: f64,
    length: u64,
}

impl Polynomial {
    /// Decays from `rate` to 0 over `length` counts. `power` must be above 0; 1 is linear.
    pub fn new(rate: f64, power: f64, length: u64) -> Result<Self, BoxError> {
        if !(power.is_finite() && power > 0.0) {
            return Err(format!("polynomial schedule: the power is {power}; give one above 0").into());
        }
        let rate = checked_rate("polynomial schedule: the rate", rate)?;
        let length = checked_length("polynomial schedule: the length", length)?;
        Ok(Polynomial { rate, power, length })
    }
}

impl Schedule for Polynomial {
    fn rate(&self, count: u64) -> f64 {
        self.rate * (1.0 - fraction(count, self.length)).powf(self.power)
    }
}
