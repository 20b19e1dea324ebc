//! The trait for saving and restoring runs.

use std::fmt;
use std::path::Path;

use super::Report;
use super::probe::TimedSaver;
use crate::callback::dispatch::CallbackStates;
use crate::callback::{BeforeCommit, Event, Events, Ranks};
use crate::data::Rank;
use crate::saved::ranks::{self, OfRanks, Shares};
use crate::saved::{AppState, Parts, StateDict, Stateful};
use crate::state::Phase;
use crate::{BoxError, Error, State};

/// Saves and restores a run: given to [`Run::saver`](crate::Run::saver).
///
/// A saver receives every event after the unit and all callbacks, so it saves a state in which
/// everything of the event is done. Its errors end the call like those of a callback.
/// `regimen::checkpoint` has the saver for most runs.
pub trait Saver: Send {
    /// The events that this saver receives, read once at registration. Default: all.
    fn events(&self) -> Events {
        Events::ALL
    }

    /// The [ranks](State::rank) on which it saves, read once at registration. On the others it is only
    /// asked to [restore](Saver::restore). Default: all.
    fn ranks(&self) -> Ranks {
        Ranks::All
    }

    /// A call of an entry point begins, in `phase`; neither the unit nor a callback has been called
    /// yet. A saver acquires its lock here, before a callback opens a file. An error ends the call.
    /// Nothing by default.
    fn begin(&mut self, _phase: Phase, _moment: &mut Moment<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    /// Handles an event; saves if a save is due. A save that is due together with an evaluation
    /// ([`State::eval_is_due`]) comes after it. The end of a step or an epoch in which the unit has failed with a
    /// number that is [not finite](Error::is_not_finite) is not sent.
    fn on_event(&mut self, event: Event, moment: &mut Moment<'_>) -> Result<(), BoxError>;

    /// A call failed; the callbacks have been called. Nothing by default.
    fn on_error(&mut self, _error: &Error, _moment: &mut Moment<'_>) {}

    /// A call of `train` or `fit` ended without an error: adds the saver's part to `report`, such as
    /// the newest checkpoint. The callbacks add theirs afterwards. Nothing by default.
    fn sum_up(&mut self, _report: &mut Report, _moment: &mut Moment<'_>) {}

    /// Restores the checkpoint that `which` selects.
    ///
    /// Returns `None` if the latest is asked for and nothing was saved yet. Any other selection that
    /// matches nothing is an error. After an error, unit and run are as they were.
    fn restore(&mut self, which: Which<'_>, moment: &mut Moment<'_>) -> Result<Option<Restored>, BoxError>;
}

/// Selects a checkpoint. Only those from which a run can continue are considered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Which<'a> {
    /// The one saved last.
    Latest,
    /// The one with the best value of the metric that the saver keeps the best of. Of equal values
    /// the one saved first. Values that are not finite do not count.
    Best,
    /// The one saved after this many training steps. If the step was saved again, the one saved last.
    Step(u64),
    /// The one at this path.
    Path(&'a Path),
}

/// A restored checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Completed training steps at the time of the save.
    pub step: u64,
    /// Its place, such as a path.
    pub from: String,
    /// Better matches that were passed over because they are damaged, with the reason.
    pub skipped: Vec<String>,
    /// Differences from the saved run: parts that were left out or start fresh, hyper-parameters that
    /// differ. Each is a notice too.
    pub differences: Vec<String>,
}

/// A run between two steps, to be saved or restored.
pub struct Moment<'m> {
    pub(crate) state: &'m mut State,
    pub(crate) unit: &'m mut dyn AppState,
    pub(crate) callbacks: &'m mut dyn CallbackStates,
}

impl Moment<'_> {
    /// The state of the run.
    pub fn state(&self) -> &State {
        self.state
    }

    /// The state of the run, to stop it or to add a notice.
    pub fn state_mut(&mut self) -> &mut State {
        self.state
    }

    /// The parts of the unit.
    pub fn unit(&mut self) -> &mut dyn AppState {
        self.unit
    }

    /// The saved state apart from the unit's parts: progress, metrics in flight, the position in a
    /// cycle, a final stop, and the state of every callback. [`before_commit`](Moment::before_commit) comes
    /// with it.
    pub fn run_state(&mut self) -> Result<StateDict, BoxError> {
        run_state(self.state, self.callbacks)
    }

    /// The same with the arrays [of every rank](Stateful::is_of_rank). Every rank calls it; the result of rank 0 is
    /// the one to write. Without [peers](State::peers) it is [`run_state`](Moment::run_state).
    pub fn run_state_of_ranks(&mut self) -> Result<StateDict, BoxError> {
        let mut dict = self.run_state()?;
        if let Some(peers) = self.state.peers() {
            let is_of_rank = |name: &str| match name.split_once('.') {
                Some((RUN, name)) => self.state.is_of_rank(name),
                Some((CALLBACKS, name)) => self.callbacks.is_of_rank(name),
                _ => false,
            };
            ranks::gather(&**peers, RUN, &mut dict, Shares::Together, is_of_rank)?;
        }
        Ok(dict)
    }

    /// The work to do before a checkpoint with the [run's state](Moment::run_state) is acknowledged: it makes
    /// logs durable. Each piece may be done on any thread. After an error the checkpoint must not be kept: a
    /// log could be shorter than it says.
    pub fn before_commit(&mut self) -> Vec<BeforeCommit> {
        self.callbacks.before_commit()
    }

    /// The state in `dict`, which [`run_state`](Moment::run_state) returned: for its progress. Of several ranks, that of
    /// rank 0.
    pub fn saved_state(dict: &StateDict) -> Result<State, BoxError> {
        let mut state = State::new();
        state.load_state_dict(OfRanks::new(dict, Rank::default())?.under(RUN).first())?;
        Ok(state)
    }

    /// Checks whether [`load_run_state`](Moment::load_run_state) would accept `dict`.
    pub fn check_run_state(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        check_run_state(self.callbacks, &OfRanks::new(dict, Rank::default())?)
    }

    /// The same for [`load_run_state_of_ranks`](Moment::load_run_state_of_ranks).
    pub fn check_run_state_of_ranks(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        check_run_state(self.callbacks, &OfRanks::new(dict, self.state.rank())?)
    }

    /// Restores the state that [`run_state`](Moment::run_state) returned, the seed included. Callbacks
    /// without saved state, and saved state without a callback, become notices.
    pub fn load_run_state(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        load_run_state(self.state, self.callbacks, dict, Rank::default())
    }

    /// The same for a state of [`run_state_of_ranks`](Moment::run_state_of_ranks), of any number of ranks.
    pub fn load_run_state_of_ranks(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let rank = self.state.rank();
        load_run_state(self.state, self.callbacks, dict, rank)
    }
}

/// Prefixes of the names in the state of a run, and in that of its callbacks.
const RUN: &str = "run";
const CALLBACKS: &str = "callbacks";

pub(crate) fn run_state(state: &State, callbacks: &mut dyn CallbackStates) -> Result<StateDict, BoxError> {
    let mut dict = StateDict::new();
    dict.insert_all(RUN, state.state_dict()?)?;
    dict.insert_all(CALLBACKS, callbacks.state_dict()?)?;
    Ok(dict)
}

fn check_run_state(callbacks: &mut dyn CallbackStates, all: &OfRanks<'_>) -> Result<(), BoxError> {
    let mut state = State::new();
    let saved = all.under(RUN);
    let own = saved.of(&state)?;
    state.load_state_dict(&own)?;
    callbacks.check_state_dict(&all.under(CALLBACKS))
}

pub(crate) fn load_run_state(
    state: &mut State,
    callbacks: &mut dyn CallbackStates,
    dict: &StateDict,
    rank: Rank,
) -> Result<(), BoxError> {
    let all = OfRanks::new(dict, rank)?;
    check_run_state(callbacks, &all)?;
    let notices = callbacks.load_state_dict(&all.under(CALLBACKS))?;
    let saved = all.under(RUN);
    let own = saved.of(state)?;
    state.load_state_dict(&own)?;
    notices.into_iter().for_each(|notice| state.notify(notice));
    Ok(())
}

impl fmt::Debug for Moment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moment").field("state", &self.state).finish_non_exhaustive()
    }
}

/// The saver of a run of `U`, as registered.
pub(crate) struct Registered<'a, U: ?Sized> {
    pub(crate) saver: Box<dyn Saver + 'a>,
    /// The events it receives.
    pub(crate) events: Events,
    /// The ranks on which it saves.
    pub(crate) ranks: Ranks,
    /// [`AppState::visit`] of the unit. The loops run units that have none, so that they cannot ask for it.
    visit: VisitParts<U>,
}

type VisitParts<U> = fn(&mut U, &mut dyn Parts) -> Result<(), BoxError>;

impl<'a, U: ?Sized> Registered<'a, U> {
    pub(crate) fn new(saver: impl Saver + 'a) -> Self
    where
        U: AppState,
    {
        let (events, ranks) = (saver.events(), saver.ranks());
        Registered { saver: Box::new(saver), events, ranks, visit: U::visit }
    }

    /// The same, telling the probe of its calls.
    pub(crate) fn timed(self) -> Self {
        Registered { saver: Box::new(TimedSaver(self.saver)), ..self }
    }

    /// Calls `call` with the saver and the moment that `state`, `unit` and `callbacks` are.
    pub(crate) fn call<R>(
        &mut self,
        state: &mut State,
        unit: &mut U,
        callbacks: &mut dyn CallbackStates,
        call: impl FnOnce(&mut dyn Saver, &mut Moment<'_>) -> R,
    ) -> R {
        struct Visited<'u, U: ?Sized>(&'u mut U, VisitParts<U>);
        impl<U: ?Sized> AppState for Visited<'_, U> {
            fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
                (self.1)(self.0, parts)
            }
        }
        let unit = &mut Visited(unit, self.visit);
        call(&mut *self.saver, &mut Moment { state, unit, callbacks })
    }
}
