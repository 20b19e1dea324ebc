//! The best value of a metric over a run.

use std::fmt;

use super::{Goal, Key};
use crate::State;
use crate::text::Short;

/// The best value of a metric over a run and its restarts, as known to a rule of the run: early
/// stopping, or a saver that keeps the best.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// The metric.
    pub key: Key,
    /// The direction of better values.
    pub goal: Goal,
    /// The best one.
    pub value: f64,
    /// The training epoch in which or at whose end it was measured, from 1.
    pub epoch: u64,
    /// Completed training steps when it was measured.
    pub train_step: u64,
    /// The checkpoint of that step, if one is kept.
    pub checkpoint: Option<String>,
}

impl Best {
    /// A value that is measured now, with no checkpoint.
    pub fn now(key: Key, goal: Goal, value: f64, state: &State) -> Self {
        let train = state.train_progress();
        let epoch = train.epochs + u64::from(train.steps_in_epoch > 0);
        Best { key, goal, value, epoch, train_step: train.steps, checkpoint: None }
    }
}

/// `eval/loss 0.3125 in epoch 12, at step 240: runs/a/step-000000240`.
impl fmt::Display for Best {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Best { key, value, epoch, train_step, checkpoint, .. } = self;
        write!(f, "{key} {} in epoch {epoch}, at step {train_step}", Short(*value))?;
        match checkpoint {
            Some(checkpoint) => write!(f, ": {checkpoint}"),
            None => Ok(()),
        }
    }
}
