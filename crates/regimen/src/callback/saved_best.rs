//! The best value of a callback, as it is saved.

use crate::BoxError;
use crate::metric::{Best, Goal, Key};
use crate::saved::StateDict;

/// Inserts the value of `best` with its epoch and step. Metric and direction are settings.
pub(super) fn insert(dict: &mut StateDict, best: &Best) -> Result<(), BoxError> {
    dict.insert("value", best.value)?;
    dict.insert("epoch", best.epoch)?;
    dict.insert("train_step", best.train_step)
}

/// The best value in `dict`, without a checkpoint.
pub(super) fn read(dict: &StateDict, key: &Key, goal: Goal) -> Result<Best, BoxError> {
    let (epoch, train_step) = (dict.count("epoch")?, dict.count("train_step")?);
    Ok(Best { key: key.clone(), goal, value: dict.get("value")?, epoch, train_step, checkpoint: None })
}
