//! Accuracy over the tokens that count.

use super::logits::{argmax, check_lengths, check_target, rows};
use super::measure::counted_by_each_rank;
use super::{Measure, ratio};
use crate::BoxError;
use crate::saved::{Array, StateDict, Stateful};

/// The share of tokens predicted right, without those whose target is an ignored class, such as padding.
///
/// ```
/// use regimen::metric::{Measure, TokenAccuracy};
///
/// const PADDING: usize = 0;
/// let mut accuracy = TokenAccuracy::ignoring(PADDING);
/// accuracy.update((&[5, 7, 9, 9], &[5, 8, PADDING, PADDING]))?;
/// assert_eq!(accuracy.compute(), Some(0.5));
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenAccuracy {
    ignored: Option<usize>,
    correct: u64,
    total: u64,
}

impl TokenAccuracy {
    /// Every token counts.
    pub fn new() -> Self {
        TokenAccuracy::default()
    }

    /// Tokens whose target is `class` do not count, whatever was predicted. It may be a number out of range.
    pub fn ignoring(class: usize) -> Self {
        TokenAccuracy { ignored: Some(class), ..TokenAccuracy::new() }
    }

    /// Counts a matrix of logits, one row for each target, row after row. The prediction is that of
    /// [`argmax`], and a row that holds a NaN is never right. After an error nothing of this call is counted.
    pub fn update_logits<T: PartialOrd + Copy>(
        &mut self,
        logits: &[T],
        targets: &[usize],
    ) -> Result<(), BoxError> {
        let rows = rows(logits, targets)?;
        for (row, &target) in rows.clone().zip(targets) {
            if self.ignored != Some(target) {
                check_target(target, row.len())?;
            }
        }
        self.count(rows.map(argmax), targets);
        Ok(())
    }

    fn count(&mut self, predictions: impl Iterator<Item = Option<usize>>, targets: &[usize]) {
        for (prediction, &target) in predictions.zip(targets) {
            if self.ignored != Some(target) {
                self.correct += u64::from(prediction == Some(target));
                self.total += 1;
            }
        }
    }

    /// The number of tokens that count.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The ignored class as it is saved: no number, or one.
    fn saved_ignored(&self) -> Array {
        let classes = self.ignored.iter().map(|&class| class as u64);
        Array::from_slice(&classes.collect::<Vec<_>>())
    }
}

/// Of predicted classes and targets, as many of each.
impl Measure for TokenAccuracy {
    type Batch<'b> = (&'b [usize], &'b [usize]);

    /// From 0 to 1. Returns `None` before a token that counts.
    type Value = Option<f64>;

    fn update(&mut self, (predicted, targets): Self::Batch<'_>) -> Result<(), BoxError> {
        check_lengths(predicted.len(), targets.len())?;
        self.count(predicted.iter().copied().map(Some), targets);
        Ok(())
    }

    fn compute(&self) -> Option<f64> {
        ratio(self.correct, self.total)
    }

    fn merge(&mut self, other: &TokenAccuracy) -> Result<(), BoxError> {
        if self.ignored != other.ignored {
            return Err("token accuracies that ignore other classes cannot be merged".into());
        }
        self.correct += other.correct;
        self.total += other.total;
        Ok(())
    }

    fn reset(&mut self) {
        (self.correct, self.total) = (0, 0);
    }
}

/// The counts; a state with another ignored class is refused.
impl Stateful for TokenAccuracy {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("ignored", self.saved_ignored())?;
        dict.insert("correct", self.correct)?;
        dict.insert("total", self.total)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        if *dict.array("ignored")? != self.saved_ignored() {
            return Err("the saved token accuracy ignores another class".into());
        }
        let (correct, total) = (dict.count("correct")?, dict.count("total")?);
        if correct > total {
            return Err(format!("{correct} of {total} tokens cannot be correct").into());
        }
        *self = TokenAccuracy { ignored: self.ignored, correct, total };
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        let mut loaded = *self;
        loaded.load_state_dict(dict)
    }

    counted_by_each_rank!();
}
