//! State shared by the processes of a case: pending failures and observations.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use regimen::callback::Event;
use regimen::saved::StateDict;
use regimen::state::{PauseHandle, Phase};
use regimen::{BoxError, State};

use super::case::{Act, Between, Case, Strike};

/// Prefix of the message of every drawn error and panic.
pub(super) const DRAWN: &str = "drawn";

/// A [`World`] shared by unit, callbacks, data and sink.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<World>>);

/// State that outlives the processes of a case.
#[derive(Debug, Default)]
pub(super) struct World {
    strikes: VecDeque<Strike>,
    /// Points since the last failure.
    visited: u64,
    /// Failures in the current call.
    pub(super) struck: Vec<(Place, Act)>,
    /// Actions before the next call.
    pub(super) queue: VecDeque<Between>,
    /// Number of action lists already queued.
    pub(super) between: usize,
    pub(super) handle: Option<PauseHandle>,
    /// Number of manual passes started.
    pub(super) passes: usize,
    /// Several steps make one update.
    accumulates: bool,
    pub(super) at: At,
    /// The current call is a manual pass.
    pub(super) by_hand: bool,
    /// The last batch.
    pub(super) last: Loss,
    /// The last state saved in the middle of a call.
    pub(super) saved: Option<Saved>,
    pub(super) seen: Seen,
    /// The events of cycles, in order.
    pub(super) cycles: Vec<Event>,
    /// Broken rules.
    pub(super) wrong: Vec<String>,
}

/// Number, loss and weight of a batch, the last two as bits. The loss is 0 if the weight is 0.
pub(super) type Loss = (u64, u64, u64);

/// Observations of a run. Repeated steps overwrite their earlier entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// By phase and step.
    pub(super) losses: BTreeMap<(Phase, u64), Loss>,
    /// Metrics as bits, by phase and epoch.
    pub(super) epochs: BTreeMap<(Phase, u64), Vec<(String, u64)>>,
    /// Events of cycles, with the number of completed training epochs.
    pub(super) cycles: BTreeSet<(u64, String)>,
}

/// Progress through the calls of a case.
#[derive(Clone, Debug, Default)]
pub(super) struct At {
    pub(super) call: usize,
    /// The end of the last complete call.
    pub(super) ended: String,
    pub(super) pass: Option<Pass>,
}

/// A manual pass.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    pub(super) predicts: bool,
    /// Its number, if it is resumable.
    pub(super) resumable: Option<usize>,
    pub(super) batches: u64,
    /// The batches of completed steps.
    pub(super) steps: Vec<Loss>,
    pub(super) done: bool,
    /// Training steps at its start. Under other weights it starts again.
    pub(super) trained: u64,
}

/// The state that a restart restores.
#[derive(Clone, Debug)]
pub(super) struct Saved {
    pub(super) parts: BTreeMap<String, StateDict>,
    pub(super) run: StateDict,
    pub(super) at: At,
}

/// A point of a run that can fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// A method of the unit or the task, or a hook.
    Unit(&'static str),
    Data(&'static str),
    Sink,
    /// The last callback.
    Callback(Event),
}

impl Place {
    /// Returns `true` if only a stop can be recovered from here. A failed backward pass loses the gradients
    /// accumulated in the window. After a failed epoch end hook, later receivers do not see the end.
    fn must_not_fail(self, accumulates: bool) -> bool {
        match self {
            Place::Unit("backward") => accumulates,
            Place::Unit("on_train_epoch_end" | "on_eval_epoch_end" | "on_predict_epoch_end") => true,
            _ => false,
        }
    }

    /// Returns `true` if a call of `phase` does nothing after this point.
    pub(super) fn is_last(self, phase: Phase) -> bool {
        let (hook, event) = match phase {
            Phase::Train => ("on_train_end", Event::TrainEnd),
            Phase::Eval => ("on_eval_end", Event::EvalEnd),
            Phase::Predict => ("on_predict_end", Event::PredictEnd),
        };
        self == Place::Unit(hook) || self == Place::Callback(event)
    }
}

impl Shared {
    pub(super) fn new(case: &Case, disturbed: bool) -> Self {
        let strikes = if disturbed { case.strikes.clone().into() } else { VecDeque::new() };
        let between = if disturbed { 0 } else { usize::MAX };
        let accumulates = case.settings.accumulate > 1;
        Shared(Arc::new(Mutex::new(World { strikes, between, accumulates, ..World::default() })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `true` if the run is undisturbed.
    pub(super) fn is_left_alone(&self) -> bool {
        self.lock().between == usize::MAX
    }

    /// Visits a point without access to the state.
    pub(super) fn visit(&self, place: Place) -> Result<(), BoxError> {
        self.visit_with(place, None)
    }

    /// Visits a point, which may fail.
    #[expect(clippy::panic, reason = "a case may ask for a panic")]
    pub(super) fn visit_with(&self, place: Place, state: Option<&mut State>) -> Result<(), BoxError> {
        let mut world = self.lock();
        let Some(act) = world.due(place) else { return Ok(()) };
        let handle = world.handle.clone();
        drop(world);
        match (act, state) {
            (Act::Stop, Some(state)) => state.pause(DRAWN),
            (Act::Stop, None) => handle.iter().for_each(|handle| handle.pause(DRAWN)),
            (Act::Fail, _) => return Err(format!("{DRAWN} error at {place}").into()),
            (Act::Panic, _) => panic!("{DRAWN} panic at {place}"),
        }
        Ok(())
    }

    /// Records the loss of a batch in the step after `index` steps of `phase`.
    pub(super) fn saw(&self, phase: Phase, index: u64, id: u64, loss: f64, weight: f64) {
        let mut world = self.lock();
        let loss = (id, if weight == 0.0 { 0 } else { loss.to_bits() }, weight.to_bits());
        if world.by_hand {
            world.last = loss;
        } else {
            world.seen.losses.insert((phase, index), loss);
        }
    }
}

impl World {
    fn due(&mut self, place: Place) -> Option<Act> {
        let strike = self.strikes.front()?;
        self.visited += 1;
        if self.visited < strike.after {
            return None;
        }
        let Strike { act, then, .. } = self.strikes.pop_front()?;
        let act = if place.must_not_fail(self.accumulates) { Act::Stop } else { act };
        self.visited = 0;
        self.struck.push((place, act));
        then.into_iter().rev().for_each(|between| self.queue.push_front(between));
        Some(act)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Unit(what) => write!(f, "the unit's {what}"),
            Place::Data(what) => write!(f, "the data's {what}"),
            Place::Sink => f.write_str("the sink"),
            Place::Callback(event) => write!(f, "the callback's {event}"),
        }
    }
}
