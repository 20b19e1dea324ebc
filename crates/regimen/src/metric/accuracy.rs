//! Accuracy: the share of samples whose target is among the k classes predicted first.

use super::logits::{check_lengths, check_target, rank, rows};
use super::measure::counted_by_each_rank;
use super::{Measure, ratio, sum_of_counts};
use crate::BoxError;
use crate::saved::{StateDict, Stateful};
use crate::text::Count;

/// Counts samples, and those whose target is among the k classes with the largest logits.
///
/// Of equal logits the class with the lower number comes first, as in [`argmax`](super::argmax). A
/// row that holds a NaN is counted, and never as correct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accuracy {
    k: u64,
    correct: u64,
    total: u64,
}

impl Accuracy {
    /// Top-1: the target has the largest logit.
    pub fn new() -> Self {
        Accuracy { k: 1, correct: 0, total: 0 }
    }

    /// Top-k: the target is among the `k` largest logits. A `k` of 0 is an error.
    pub fn top(k: usize) -> Result<Self, BoxError> {
        if k == 0 {
            return Err("top-0 accuracy counts nothing as correct; give 1 or more".into());
        }
        Ok(Accuracy { k: k as u64, ..Accuracy::new() })
    }

    /// Counts a matrix of logits, one row for each target, row after row. Rows of another length,
    /// fewer classes than k, or a target out of range are errors; then nothing of this call is
    /// counted.
    pub fn update_logits<T: PartialOrd + Copy>(
        &mut self,
        logits: &[T],
        targets: &[usize],
    ) -> Result<(), BoxError> {
        let mut correct = 0;
        for (row, &target) in rows(logits, targets)?.zip(targets) {
            check_target(target, row.len())?;
            if self.k > row.len() as u64 {
                return Err(format!(
                    "top-{} accuracy of {} is always 1",
                    self.k,
                    Count(row.len() as u64, "class")
                )
                .into());
            }
            correct += u64::from(rank(row, target).is_some_and(|rank| (rank as u64) < self.k));
        }
        self.update_counts(correct, targets.len() as u64)
    }

    /// Counts `total` samples of which `correct` are right, for those who compare on the device.
    pub fn update_counts(&mut self, correct: u64, total: u64) -> Result<(), BoxError> {
        if correct > total {
            return Err(format!("{correct} of {} cannot be correct", Count(total, "sample")).into());
        }
        self.total = sum_of_counts(self.total, total)?;
        self.correct += correct;
        Ok(())
    }

    /// The number of correct samples.
    pub fn correct(&self) -> u64 {
        self.correct
    }

    /// The number of samples.
    pub fn total(&self) -> u64 {
        self.total
    }
}

impl Default for Accuracy {
    /// Top-1.
    fn default() -> Self {
        Accuracy::new()
    }
}

/// Of predicted classes and targets, as many of each; for top-1 alone.
impl Measure for Accuracy {
    type Batch<'b> = (&'b [usize], &'b [usize]);

    /// The share that is correct, from 0 to 1. Returns `None` before a sample is counted.
    type Value = Option<f64>;

    fn update(&mut self, (predicted, targets): Self::Batch<'_>) -> Result<(), BoxError> {
        check_lengths(predicted.len(), targets.len())?;
        if self.k != 1 {
            return Err(format!("top-{} accuracy needs logits, not predicted classes", self.k).into());
        }
        let correct = predicted.iter().zip(targets).filter(|(predicted, target)| predicted == target);
        self.update_counts(correct.count() as u64, targets.len() as u64)
    }

    fn compute(&self) -> Option<f64> {
        ratio(self.correct, self.total)
    }

    fn merge(&mut self, other: &Accuracy) -> Result<(), BoxError> {
        if self.k != other.k {
            return Err(format!("top-{} and top-{} accuracy cannot be merged", self.k, other.k).into());
        }
        self.update_counts(other.correct, other.total)
    }

    fn reset(&mut self) {
        (self.correct, self.total) = (0, 0);
    }
}

/// The counts; k belongs to the settings, and a state of another k is refused.
impl Stateful for Accuracy {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("k", self.k)?;
        dict.insert("correct", self.correct)?;
        dict.insert("total", self.total)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.check_state_dict(dict)?;
        let mut loaded = Accuracy { k: self.k, ..Accuracy::new() };
        loaded.update_counts(dict.count("correct")?, dict.count("total")?)?;
        *self = loaded;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        let k: u64 = dict.get("k")?;
        if k != self.k {
            return Err(format!("the saved accuracy is top-{k}, this one top-{}", self.k).into());
        }
        dict.count("correct").and(dict.count("total")).map(drop)
    }

    counted_by_each_rank!();
}
