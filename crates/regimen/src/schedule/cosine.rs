//! Half a cosine from a rate down to a minimum.

use super::{Schedule, between, checked_length, checked_rate, fraction, half_cosine};
use crate::BoxError;

/// Falls along half a cosine, and then stays at its minimum:
/// `minimum + (rate - minimum) * (1 + cos(pi * min(t, length) / length)) / 2`.
///
/// PyTorch's `CosineAnnealingLR(T_max = length, eta_min = minimum)` up to `length`; after that
/// PyTorch's rises again, and this one does not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cosine {
    rate: f64,
    minimum: f64,
    length: u64,
}

impl Cosine {
    /// Falls from `rate` to 0 over `length` counts.
    pub fn new(rate: f64, length: u64) -> Result<Self, BoxError> {
        let rate = checked_rate("cosine schedule: the rate", rate)?;
        let length = checked_length("cosine schedule: the length", length)?;
        Ok(Cosine { rate, minimum: 0.0, length })
    }

    /// The rate at its end; 0 by default. A minimum above the rate is an error.
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
