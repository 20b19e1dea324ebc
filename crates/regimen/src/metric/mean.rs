//! Means of floats, whatever the parts in which they are counted.

use super::sum::Sum;
use crate::BoxError;
use crate::saved::StateDict;

/// The mean of numbers, by their [`Sum`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Mean {
    sum: Sum,
    count: u64,
}

impl Mean {
    pub(super) fn add(&mut self, number: f64) {
        self.sum.add(number);
        self.count += 1;
    }

    pub(super) fn merge(&mut self, other: Mean) {
        self.sum.merge(other.sum);
        self.count += other.count;
    }

    /// Returns `None` without numbers.
    pub(super) fn value(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum.value() / self.count as f64)
    }

    /// Adds the arrays of a state, which have these names.
    pub(super) fn insert_into(self, dict: &mut StateDict, [sum, count]: [&str; 2]) -> Result<(), BoxError> {
        dict.insert(sum, self.sum)?;
        dict.insert(count, self.count)
    }

    pub(super) fn from_state(dict: &StateDict, [sum, count]: [&str; 2]) -> Result<Self, BoxError> {
        Ok(Mean { sum: dict.get(sum)?, count: dict.count(count)? })
    }
}
