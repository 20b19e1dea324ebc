//! The cadences of saves.

use std::time::{Duration, Instant};

use regimen_core::callback::{Event, Every};
use regimen_core::{Error, State};

/// The cadences of a checkpointer.
#[derive(Debug)]
pub(super) struct Cadences {
    pub(super) every: Every,
    /// After every n-th evaluation of a training.
    pub(super) evaluations: Option<u64>,
    /// After the first step that ends so many seconds after the last save.
    pub(super) seconds: Option<u64>,
}

impl Default for Cadences {
    fn default() -> Self {
        Cadences { every: Every::NEVER, evaluations: None, seconds: None }
    }
}

impl Cadences {
    pub(super) fn check(&self) -> Result<(), Error> {
        self.every.check("`Checkpointer::every`")?;
        let zero = |n: Option<u64>, what| match n {
            Some(0) => Err(Error::config(format!("`Checkpointer::{what}`: 0 is never due; give 1 or more"))),
            _ => Ok(()),
        };
        zero(self.evaluations, "every_evaluations")?;
        zero(self.seconds, "every_seconds")
    }
}

/// Decides at each event whether a save is due.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// When the last save was due, or the training began.
    last: Option<Instant>,
    /// Whether a save is due, and waits for the end of the epoch or the evaluation that is due as well.
    is_waiting: bool,
}

impl Due {
    /// A training begins, or goes on.
    pub(super) fn begin(&mut self) {
        (self.last, self.is_waiting) = (Some(Instant::now()), false);
    }

    /// Whether to save now, at `event` of a training. If `is_wanted` a save is due regardless of the
    /// cadences.
    pub(super) fn now(&mut self, cadences: &Cadences, event: Event, state: &State, is_wanted: bool) -> bool {
        let due = match event {
            Event::TrainStepEnd | Event::TrainEpochEnd => state.is_due(cadences.every),
            // One that is paused ends as well, and is not counted.
            Event::EvalEnd if !state.eval_is_due() => {
                cadences.evaluations.is_some_and(|n| state.eval_progress().epochs.is_multiple_of(n))
            }
            _ => false,
        };
        self.is_waiting |= due || is_wanted;
        let may = match event {
            // The end of the epoch comes next, and with it perhaps an evaluation.
            Event::TrainStepEnd => !state.last_in_epoch(),
            Event::TrainEpochEnd | Event::EvalEnd => true,
            _ => false,
        };
        // An evaluation that is paused ends as well, and is still due.
        let now = may && self.is_waiting && !state.eval_is_due();
        if now {
            (self.is_waiting, self.last) = (false, Some(Instant::now()));
        }
        now
    }

    /// Whether so many seconds are over since the last save.
    pub(super) fn are_over(&self, seconds: Option<u64>) -> bool {
        let over = |(seconds, last): (u64, Instant)| Duration::from_secs(seconds) <= last.elapsed();
        seconds.zip(self.last).is_some_and(over)
    }
}
