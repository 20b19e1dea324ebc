//! Phases of a run and their progress.

use std::fmt;

use crate::BoxError;
use crate::saved::{StateDict, Stateful};
use crate::text::Count;

/// The step of the unit that the loop calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Training: `train_step`.
    Train,
    /// Evaluation: `eval_step`.
    Eval,
    /// Prediction: `predict_step`.
    Predict,
}

impl Phase {
    /// Every phase, in the order in which they are stored.
    pub const ALL: [Phase; 3] = [Phase::Train, Phase::Eval, Phase::Predict];

    /// `train`, `eval` or `predict`.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Train => "train",
            Phase::Eval => "eval",
            Phase::Predict => "predict",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The progress of one phase. All counts are of *completed* things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Epochs that ended by their data or their cap. A paused epoch is not one.
    pub epochs: u64,
    /// Steps over all epochs that have happened: the unit's step returned `Ok`, or had
    /// [committed](crate::State::commit_step) when it failed.
    pub steps: u64,
    /// Steps of the epoch under way; 0 between epochs.
    pub steps_in_epoch: u64,
    /// Steps of the epoch that ended last.
    pub steps_in_last_epoch: u64,
    /// Optimizer steps, counted by the unit with [`State::count_update`](crate::State::count_update).
    pub updates: u64,
    /// Samples of all completed steps, on all [peers](crate::Run::peers).
    pub samples: u64,
}

/// The expected amount of one phase in the call under way, as far as known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Steps of a whole epoch.
    pub steps_in_epoch: Option<u64>,
    /// Epochs in all, counted from the very first.
    pub epochs: Option<u64>,
    /// Steps in all, counted from the very first.
    pub steps: Option<u64>,
}

impl Progress {
    pub(crate) fn count_step(&mut self, samples: u64) {
        self.steps += 1;
        self.steps_in_epoch += 1;
        self.samples += samples;
    }

    pub(crate) fn count_epoch(&mut self) {
        self.epochs += 1;
        self.steps_in_last_epoch = self.steps_in_epoch;
        self.steps_in_epoch = 0;
    }

    fn counters(&mut self) -> [(&'static str, &mut u64); 6] {
        [
            ("epochs", &mut self.epochs),
            ("steps", &mut self.steps),
            ("steps_in_epoch", &mut self.steps_in_epoch),
            ("steps_in_last_epoch", &mut self.steps_in_last_epoch),
            ("updates", &mut self.updates),
            ("samples", &mut self.samples),
        ]
    }
}

impl Stateful for Progress {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        for (name, count) in self.clone().counters() {
            dict.insert(name, *count)?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let mut loaded = Progress::default();
        for (name, count) in loaded.counters() {
            *count = dict.count(name)?;
        }
        *self = loaded;
        Ok(())
    }
}

/// `2 epochs, 25 steps, 5 of them in an open epoch`.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Progress { epochs, steps, steps_in_epoch, .. } = self;
        write!(f, "{}, {}", Count(epochs, "epoch"), Count(steps, "step"))?;
        match steps_in_epoch {
            0 => Ok(()),
            open => write!(f, ", {open} of them in an open epoch"),
        }
    }
}
