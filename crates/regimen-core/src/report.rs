//! What came of a call of an entry point.

use std::fmt;

use crate::{Key, Phase, Progress};

/// Why a call ended, where the run stands, and what was measured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Why the call ended.
    pub ended: Ended,
    /// How much of the training is done.
    pub train: Progress,
    /// How much of the evaluation is done.
    pub eval: Progress,
    /// How much of the prediction is done.
    pub predict: Progress,
    /// The metrics of every epoch that ended during the call, training and evaluation in the
    /// order in which they ended.
    pub epochs: Vec<EpochMetrics>,
    /// What was told during the call that is no error, in order: see
    /// [`Event::Notice`](crate::Event::Notice).
    pub notices: Vec<String>,
    /// How many steps have gradients that wait for an update, because the call ended inside of an
    /// accumulation window. The next call goes on with them.
    pub pending_steps: u64,
}

/// Why a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// All that was asked for is done: a limit was reached, or the data of an evaluation or
    /// prediction ended.
    Complete,
    /// Something asked the run to pause; it can go on as if it had not.
    Paused(String),
    /// A rule ended the run for good: see [`Stop::is_final`](crate::Stop::is_final).
    Finished(String),
}

/// The metrics of one epoch.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EpochMetrics {
    /// Whose epoch it was.
    pub phase: Phase,
    /// Which one, from 1.
    pub epoch: u64,
    /// Completed training steps at its end.
    pub train_step: u64,
    /// The value of each metric logged in it, in the order in which they were first logged.
    pub values: Vec<(Key, f64)>,
}

impl Report {
    /// The value of `key` in the newest epoch of this call that has it.
    pub fn metric(&self, key: &Key) -> Option<f64> {
        self.epochs.iter().rev().find_map(|epoch| epoch.metric(key))
    }
}

impl EpochMetrics {
    /// The value of `key`.
    pub fn metric(&self, key: &Key) -> Option<f64> {
        self.values.iter().find(|(k, _)| k.name() == key.name()).map(|(_, value)| *value)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Complete => f.write_str("complete"),
            Ended::Paused(reason) => write!(f, "paused: {reason}"),
            Ended::Finished(reason) => write!(f, "finished: {reason}"),
        }
    }
}
