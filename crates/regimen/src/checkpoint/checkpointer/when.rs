//! When a save is due.

use std::time::{Duration, Instant};

use regimen_core::callback::{Event, Every};
use regimen_core::{Error, State};

/// The cadences of a checkpointer, and what it takes to know that one is due.
#[derive(Debug)]
pub(crate) struct When {
    pub(crate) every: Every,
    /// After every n-th evaluation of a training.
    pub(crate) evaluations: Option<u64>,
    /// After the first step that ends so many seconds after the last save.
    pub(crate) seconds: Option<u64>,
    /// When the last save was due, or the training began.
    last: Option<Instant>,
    /// A save is due, and waits for the end of the epoch or the evaluation that is due as well.
    waiting: bool,
}

impl When {
    pub(crate) fn never() -> Self {
        When { every: Every::NEVER, evaluations: None, seconds: None, last: None, waiting: false }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        self.every.check("`Checkpointer::every`")?;
        let zero = |n: Option<u64>, what| match n {
            Some(0) => Err(Error::config(format!("`Checkpointer::{what}`: 0 is never due; give 1 or more"))),
            _ => Ok(()),
        };
        zero(self.evaluations, "every_evaluations")?;
        zero(self.seconds, "every_seconds")
    }

    /// A training begins, or goes on.
    pub(crate) fn begin(&mut self) {
        (self.last, self.waiting) = (Some(Instant::now()), false);
    }

    /// Whether to save now, at `event` of a training. `wanted` says that a save is due whatever
    /// the cadences are.
    pub(crate) fn is_due(&mut self, event: Event, state: &State, wanted: bool) -> bool {
        let due = match event {
            Event::TrainStepEnd => state.is_due(self.every) || self.seconds_are_over(),
            Event::TrainEpochEnd => state.is_due(self.every),
            // One that is paused ends as well, and is not counted.
            Event::EvalEnd if !state.eval_is_due() => {
                self.evaluations.is_some_and(|n| state.eval_progress().epochs.is_multiple_of(n))
            }
            _ => false,
        };
        self.waiting |= due || wanted;
        let may = match event {
            // The end of the epoch comes next, and with it perhaps an evaluation.
            Event::TrainStepEnd => !state.last_in_epoch(),
            Event::TrainEpochEnd | Event::EvalEnd => true,
            _ => false,
        };
        // An evaluation that is paused ends as well, and is still due.
        let now = may && self.waiting && !state.eval_is_due();
        if now {
            (self.waiting, self.last) = (false, Some(Instant::now()));
        }
        now
    }

    fn seconds_are_over(&self) -> bool {
        let over = |(seconds, last): (u64, Instant)| Duration::from_secs(seconds) <= last.elapsed();
        self.seconds.zip(self.last).is_some_and(over)
    }
}
