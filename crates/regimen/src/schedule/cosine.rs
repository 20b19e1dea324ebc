//! Cosine annealing.

use super::{Schedule, between, checked_length, checked_rate, fraction, half_cosine};
use crate::BoxError;

/// Cosine annealing from a rate to a minimum, where it stays:
/// `minimum + (rate - minimum) * (1 + cos(pi * min(t, length) / length)) / 2`.
///
/// This is PyTorch's `CosineAnnealingLR(T_max = length, eta_min = minimum)` up to `length`. After
/// that, PyTorch's schedule rises again; this one does not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cosine {
    rate: f64,
    minimum: f64,
    length: u64,
}

impl Cosine {
    /// Anneals from `rate` to 0 over `length` counts.
    pub fn new(rate: f64, length: u64) -> Result<Self, BoxError> {
        let rate = checked_rate("cosine schedule: the rate", rate)?;
        let length = checked_length("cosine schedule: the length", length)?;
        Ok(Cosine { rate, minimum: 0.0, length })
    }

    /// Sets the final rate. Default: 0. Returns an error if it is above the initial rate.
    pub fn minimum(self, minimum: f64) -> Result<Self, BoxError> {
        let minimum = checked_rate("cosine schedule: the minimum", minimum)?;
        if minimum > self.rate {
            let rate = self.rate;
            return Err(format!("cosine schedule: the minimum {minimum} is above the rate {rate}").into());
        }
        Ok(Cosine { minimum, ..self })
    }
}

impl Schedule for Cosine {
    fn rate(&self, count: u64) -> f64 {
        between(self.rate, self.minimum, half_cosine(fraction(count, self.length)))
    }
}
