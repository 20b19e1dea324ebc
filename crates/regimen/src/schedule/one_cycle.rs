//! One-cycle schedule.

use super::{Schedule, between, checked_length, checked_rate, half_cosine};
use crate::BoxError;

/// One cycle: the rate rises from `maximum / 25` to `maximum` over the first 30 % of the length,
/// falls to `maximum / 25 / 10000`, and stays there.
///
/// This is PyTorch's `OneCycleLR(max_lr = maximum, total_steps = length)` with its defaults and without
/// its cycle of momentum. The highest rate is at `t = 0.3 * length - 1` and the last at `t = length - 1`,
/// after which PyTorch's returns an error. At the fraction `p` between two rates, the rate is
/// `to + (from - to) * (1 + cos(pi * p)) / 2`, or, if linear, `from + (to - from) * p`.
///
/// L. N. Smith and N. Topin, "Super-Convergence: Very Fast Training of Neural Networks Using
/// Large Learning Rates", 2018.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneCycle {
    maximum: f64,
    length: u64,
    rise: f64,
    first_divisor: f64,
    last_divisor: f64,
    anneal: Anneal,
}

/// The curve between two rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anneal {
    /// Half a cosine.
    #[default]
    Cosine,
    /// A straight line.
    Linear,
}

impl OneCycle {
    /// One cycle of `length` counts up to `maximum`. Returns an error if the length is too short
    /// for the rise (below 4 for a rise of 0.3).
    pub fn new(maximum: f64, length: u64) -> Result<Self, BoxError> {
        let maximum = checked_rate("one-cycle schedule: the maximum", maximum)?;
        let length = checked_length("one-cycle schedule: the length", length)?;
        let (first_divisor, last_divisor) = (25.0, 1e4);
        let anneal = Anneal::default();
        OneCycle { maximum, length, rise: 0.3, first_divisor, last_divisor, anneal }.with_room()
    }

    /// Sets the fraction of the length in which the rate rises, between 0 and 1. Default: 0.3.
    pub fn rise(self, rise: f64) -> Result<Self, BoxError> {
        OneCycle { rise, ..self }.with_room()
    }

    /// Sets the divisors: the first rate is the maximum divided by `first`, the last rate is the
    /// first divided by `last`. Defaults: 25 and 10000. Both must be finite and above 0.
    pub fn divisors(self, first: f64, last: f64) -> Result<Self, BoxError> {
        for divisor in [first, last] {
            if !(divisor.is_finite() && divisor > 0.0) {
                return Err(format!("one-cycle schedule: a divisor is {divisor}; give one above 0").into());
            }
        }
        Ok(OneCycle { first_divisor: first, last_divisor: last, ..self })
    }

    /// Sets the curve between two rates. Default: [`Anneal::Cosine`].
    pub fn anneal(self, anneal: Anneal) -> Self {
        OneCycle { anneal, ..self }
    }

    /// The count with the highest rate, which may be fractional.
    fn peak(&self) -> f64 {
        self.rise * self.length as f64 - 1.0
    }

    fn end(&self) -> f64 {
        self.length as f64 - 1.0
    }

    fn with_room(self) -> Result<Self, BoxError> {
        let OneCycle { rise, length, .. } = self;
        if !(rise > 0.0 && rise < 1.0) {
            return Err(format!("one-cycle schedule: the rise is {rise}; give one between 0 and 1").into());
        }
        if self.peak() <= 0.0 {
            let least = ((1.0 / rise) as u64).saturating_add(1);
            return Err(format!(
                "one-cycle schedule: a length of {length} leaves no room to rise in {rise} of it; \
                 give a length of {least} or more"
            )
            .into());
        }
        Ok(self)
    }
}

impl Schedule for OneCycle {
    fn rate(&self, count: u64) -> f64 {
        let first = self.maximum / self.first_divisor;
        let last = first / self.last_divisor;
        let (peak, end) = (self.peak(), self.end());
        let count = (count as f64).min(end);
        if count <= peak {
            self.anneal.between(first, self.maximum, count / peak)
        } else {
            self.anneal.between(self.maximum, last, (count - peak) / (end - peak))
        }
    }
}

impl Anneal {
    fn between(self, from: f64, to: f64, part: f64) -> f64 {
        match self {
            Anneal::Cosine => between(from, to, half_cosine(part)),
            Anneal::Linear => between(from, to, part),
        }
    }
}
