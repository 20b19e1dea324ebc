//! What outlives the processes of a case: what is still to go wrong, and what was seen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use regimen::callback::Event;
use regimen::saved::StateDict;
use regimen::state::{PauseHandle, Phase};
use regimen::{BoxError, State};

use super::case::{Act, Between, Case, Strike};

/// What the text of every drawn error and panic begins with.
pub(super) const DRAWN: &str = "drawn";

/// A [`World`] that unit, callbacks, data and sink all hold.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<World>>);

/// What outlives the processes of a case.
#[derive(Debug, Default)]
pub(super) struct World {
    strikes: VecDeque<Strike>,
    /// Points since the last strike.
    visited: u64,
    /// What went wrong in the call under way.
    pub(super) struck: Vec<(Place, Act)>,
    /// What is to be done before the next call.
    pub(super) queue: VecDeque<Between>,
    /// How many of the lists of what is done before each call were taken up.
    pub(super) between: usize,
    pub(super) handle: Option<PauseHandle>,
    /// How many passes by hand were begun.
    pub(super) passes: usize,
    /// Several steps make an update.
    accumulates: bool,
    pub(super) at: At,
    /// The call under way is one by hand.
    pub(super) by_hand: bool,
    /// Number, loss and weight of the last batch, the latter two as bits.
    pub(super) last: Loss,
    /// What was last saved in the middle of a call.
    pub(super) saved: Option<Saved>,
    pub(super) seen: Seen,
    /// The events of cycles in their order.
    pub(super) cycles: Vec<Event>,
    /// Rules that were broken.
    pub(super) wrong: Vec<String>,
}

/// Number, loss and weight of a batch, the latter two as bits; the loss is 0 where there is no weight.
pub(super) type Loss = (u64, u64, u64);

/// What was seen of a run. What is done again is seen again, at the same place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// By phase and step.
    pub(super) losses: BTreeMap<(Phase, u64), Loss>,
    /// Metrics as bits, by phase and epoch.
    pub(super) epochs: BTreeMap<(Phase, u64), Vec<(String, u64)>>,
    /// Events of cycles, with the training epochs that were complete.
    pub(super) cycles: BTreeSet<(u64, String)>,
}

/// How far the program of calls has come.
#[derive(Clone, Debug, Default)]
pub(super) struct At {
    pub(super) call: usize,
    /// How the last complete call ended.
    pub(super) ended: String,
    pub(super) pass: Option<Pass>,
}

/// A pass by hand.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    pub(super) predicts: bool,
    /// Which one it is, if it can be gone on with.
    pub(super) resumable: Option<usize>,
    pub(super) batches: u64,
    /// Of each completed step.
    pub(super) steps: Vec<Loss>,
    pub(super) done: bool,
    /// Training steps when it was begun: under other weights it begins anew.
    pub(super) trained: u64,
}

/// What a restart takes up.
#[derive(Clone, Debug)]
pub(super) struct Saved {
    pub(super) parts: BTreeMap<String, StateDict>,
    pub(super) run: StateDict,
    pub(super) at: At,
}

/// A point of a run at which something can go wrong.
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
    /// Whether only a stop can be undone here. A backward pass that fails takes the gradients with it
    /// that a window held before; behind an epoch's end hook that fails, those who come later are not
    /// told of the end.
    fn must_not_fail(self, accumulates: bool) -> bool {
        match self {
            Place::Unit("backward") => accumulates,
            Place::Unit("on_train_epoch_end" | "on_eval_epoch_end" | "on_predict_epoch_end") => true,
            _ => false,
        }
    }

    /// Whether nothing of a call of `phase` is done behind it.
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

    /// Whether the run is made without what disturbs it.
    pub(super) fn is_left_alone(&self) -> bool {
        self.lock().between == usize::MAX
    }

    /// Comes to a point at which the run cannot be reached but by its handle.
    pub(super) fn visit(&self, place: Place) -> Result<(), BoxError> {
        self.visit_with(place, None)
    }

    /// Comes to a point, at which something may go wrong.
    #[expect(clippy::panic, reason = "a case may be told to panic")]
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

    /// Notes the loss of a batch in the step after `index` steps of `phase`.
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
