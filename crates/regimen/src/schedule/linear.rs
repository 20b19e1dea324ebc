//! Linear ramp.

use super::{Schedule, between, checked_length, checked_rate, fraction};
use crate::BoxError;

/// A linear ramp, constant after its end: `from + (to - from) * min(t, length) / length`.
///
/// This is PyTorch's `LinearLR`, which takes `from` and `to` as factors of the optimizer's rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    from: f64,
    to: f64,
    length: u64,
}

impl Linear {
    /// Moves from `from` to `to`, up or down, over `length` counts.
    pub fn new(from: f64, to: f64, length: u64) -> Result<Self, BoxError> {
        Ok(Linear {
            from: checked_rate("linear schedule: the first rate", from)?,
            to: checked_rate("linear schedule: the last rate", to)?,
            length: checked_length("linear schedule: the length", length)?,
        })
    }
}

impl Schedule for Linear {
    fn rate(&self, count: u64) -> f64 {
        between(self.from, self.to, fraction(count, self.length))
    }
}
