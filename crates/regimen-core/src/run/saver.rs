//! The seat of what saves and restores a run.

use std::fmt;
use std::path::PathBuf;

use super::Report;
use crate::callback::dispatch::Callbacks;
use crate::callback::{Event, Events};
use crate::saved::{StateDict, Stateful};
use crate::state::Phase;
use crate::{BoxError, Error, State};

/// Saves runs of units of type `U`, and restores them: given to [`Run::saver`](crate::Run::saver).
///
/// A saver is sent every event after the unit and all callbacks, so what it saves is what a run
/// goes on from: everything that belongs to the event is done. Its errors end the call like those
/// of a callback. `regimen::checkpoint` has the one most runs want.
pub trait Saver<U: ?Sized>: Send {
    /// The events this saver is sent, read once when it is registered. All by default.
    fn events(&self) -> Events {
        Events::ALL
    }

    /// A call of an entry point begins, in `phase`; neither the unit nor a callback was told yet. What
    /// must be this run's alone is taken here, before a callback opens a file of its own. An error ends
    /// the call. Nothing by default.
    fn begin(&mut self, _phase: Phase, _moment: &mut Moment<'_, '_, U>) -> Result<(), BoxError> {
        Ok(())
    }

    /// Something happened; saves if a save is due. A save that is due together with an evaluation
    /// ([`State::eval_is_due`]) comes after it.
    fn on_event(&mut self, event: Event, moment: &mut Moment<'_, '_, U>) -> Result<(), BoxError>;

    /// A call failed; the callbacks have been told. Nothing by default.
    fn on_error(&mut self, _error: &Error, _moment: &mut Moment<'_, '_, U>) {}

    /// A call of `train` or `fit` ended without an error: adds what this saver knows to `report`, such
    /// as where the newest checkpoint is. The callbacks have added theirs. Nothing by default.
    fn sum_up(&mut self, _report: &mut Report, _moment: &mut Moment<'_, '_, U>) {}

    /// Restores what was saved. Returns none where nothing is there to restore, for
    /// [`Which::Latest`] and [`Which::Best`]; after an error unit and run are as they were.
    fn restore(
        &mut self,
        which: &Which,
        moment: &mut Moment<'_, '_, U>,
    ) -> Result<Option<Restored>, BoxError>;
}

/// Which of the things saved to restore.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Which {
    /// The newest that is whole.
    Latest,
    /// The best by the metric the saver keeps the best of.
    Best,
    /// The one saved after this many training steps.
    Step(u64),
    /// The one at this path.
    Path(PathBuf),
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Completed training steps at the time of the save.
    pub step: u64,
    /// Where it was found.
    pub from: String,
    /// What was passed over on the way, and why: newer ones that are damaged.
    pub skipped: Vec<String>,
    /// What is not as it was saved: parts that were left out or begin anew, hyper-parameters that
    /// differ. Each is told as a notice too.
    pub differences: Vec<String>,
}

/// A run between two things it does: all there is to save, and all there is to restore.
pub struct Moment<'m, 'a, U: ?Sized> {
    pub(crate) state: &'m mut State,
    pub(crate) unit: &'m mut U,
    pub(crate) callbacks: &'m mut Callbacks<'a, U>,
}

impl<U: ?Sized> Moment<'_, '_, U> {
    /// The state of the run.
    pub fn state(&self) -> &State {
        self.state
    }

    /// The state of the run, to stop it or to tell something.
    pub fn state_mut(&mut self) -> &mut State {
        self.state
    }

    /// The unit.
    pub fn unit(&mut self) -> &mut U {
        self.unit
    }

    /// All that is saved beside the unit's parts: progress, metrics in flight, where a cycle
    /// stands, a final stop, and the state of every callback.
    pub fn run_state(&mut self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert_all("run", self.state.state_dict()?)?;
        dict.insert_all("callbacks", self.callbacks.state_dict()?)?;
        Ok(dict)
    }

    /// Says whether [`load_run_state`](Moment::load_run_state) would accept `dict`.
    pub fn check_run_state(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        State::new().load_state_dict(&dict.under("run"))?;
        self.callbacks.check_state_dict(&dict.under("callbacks"))
    }

    /// Puts back what [`run_state`](Moment::run_state) gave, the seed included. Callbacks without
    /// saved state, and saved state without a callback, become notices.
    pub fn load_run_state(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.check_run_state(dict)?;
        let notices = self.callbacks.load_state_dict(&dict.under("callbacks"))?;
        self.state.load_state_dict(&dict.under("run"))?;
        notices.into_iter().for_each(|notice| self.state.notify(notice));
        Ok(())
    }
}

impl<U: ?Sized> fmt::Debug for Moment<'_, '_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moment").field("state", &self.state).finish_non_exhaustive()
    }
}
