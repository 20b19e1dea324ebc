//! Constant rate.

use super::{Schedule, checked_rate};
use crate::BoxError;

/// The same rate at every count. A plain `f64` is a schedule too, without validation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constant {
    rate: f64,
}

impl Constant {
    /// Returns `rate` at every count.
    pub fn new(rate: f64) -> Result<Self, BoxError> {
        Ok(Constant { rate: checked_rate("constant schedule: the rate", rate)? })
    }
}

impl Schedule for Constant {
    fn rate(&self, _count: u64) -> f64 {
        self.rate
    }
}
