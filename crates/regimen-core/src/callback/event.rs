//! Events of a run, as values.

use std::fmt;
use std::ops::BitOr;

use super::Every;
use crate::state::Phase;

macro_rules! events {
    ($($event:ident $name:literal $doc:literal,)*) => {
        /// Something that happens in a run, in the order drawn in [`Run`](crate::Run).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Event {
            $(#[doc = $doc] $event,)*
        }

        impl Event {
            /// Every event, in the order of declaration.
            pub const ALL: &[Event] = &[$(Event::$event,)*];

            /// Its name in lower case, as in `train step end`.
            pub const fn name(self) -> &'static str {
                match self { $(Event::$event => $name,)* }
            }
        }
    };
}
events! {
    CycleStart "cycle start" "`fit` begins a cycle: a training epoch and the evaluations run for it.",
    CycleEnd "cycle end" "A cycle of `fit` is complete.",
    TrainStart "train start" "A call of `train` or `fit` begins.",
    TrainEpochStart "train epoch start" "A training epoch begins; not sent again when a paused one goes on.",
    TrainFetchStart "train fetch start" "The next training batch is about to be asked for.",
    TrainFetchEnd "train fetch end" "A training batch has arrived; not sent when the data ended instead.",
    TrainStepStart "train step start" "`train_step` is about to be called.",
    TrainStepEnd "train step end" "`train_step` has returned, and is counted.",
    TrainEpochEnd "train epoch end" "A training epoch ended by its data or its cap, and is counted.",
    TrainEnd "train end" "A call of `train` or `fit` ends, at its limit or paused.",
    EvalStart "eval start" "An evaluation begins.",
    EvalEpochStart "eval epoch start" "The pass over the evaluation data begins; not sent again when a paused one goes on.",
    EvalFetchStart "eval fetch start" "The next evaluation batch is about to be asked for.",
    EvalFetchEnd "eval fetch end" "An evaluation batch has arrived; not sent when the data ended instead.",
    EvalStepStart "eval step start" "`eval_step` is about to be called.",
    EvalStepEnd "eval step end" "`eval_step` has returned, and is counted.",
    EvalEpochEnd "eval epoch end" "The pass over the evaluation data is complete, and counted.",
    EvalEnd "eval end" "An evaluation ends, complete or paused.",
    PredictStart "predict start" "A prediction begins.",
    PredictEpochStart "predict epoch start" "The pass over the data begins; not sent again when a paused one goes on.",
    PredictFetchStart "predict fetch start" "The next batch to predict is about to be asked for.",
    PredictFetchEnd "predict fetch end" "A batch to predict has arrived; not sent when the data ended instead.",
    PredictStepStart "predict step start" "`predict_step` is about to be called.",
    PredictStepEnd "predict step end" "`predict_step` has returned, its output is with the sink, and it is counted.",
    PredictEpochEnd "predict epoch end" "The pass over the data is complete, and counted.",
    PredictEnd "predict end" "A prediction ends, complete or paused.",
    Notice "notice" "A message that is no error: see [`State::notices`](crate::State::notices).",
}

impl Event {
    /// This event at a cadence of its phase, or of the training for cycles and notices. At the end of a
    /// step or an epoch the cadence is [due](crate::State::is_due) there; at any other event it is due
    /// if one of the counts is a multiple. An impossible cadence is an error when the run starts.
    pub const fn every(self, every: Every) -> Trigger {
        Trigger { event: self, every: Some(every) }
    }

    /// The phase of the event. Returns `None` for cycles and notices.
    pub const fn phase(self) -> Option<Phase> {
        use Event::*;
        match self {
            TrainStart | TrainEpochStart | TrainFetchStart | TrainFetchEnd | TrainStepStart
            | TrainStepEnd | TrainEpochEnd | TrainEnd => Some(Phase::Train),
            EvalStart | EvalEpochStart | EvalFetchStart | EvalFetchEnd | EvalStepStart | EvalStepEnd
            | EvalEpochEnd | EvalEnd => Some(Phase::Eval),
            PredictStart | PredictEpochStart | PredictFetchStart | PredictFetchEnd | PredictStepStart
            | PredictStepEnd | PredictEpochEnd | PredictEnd => Some(Phase::Predict),
            CycleStart | CycleEnd | Notice => None,
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }

    pub(crate) const fn ends_step_or_epoch(self) -> bool {
        use Event::*;
        const ENDS: Events = Events::of(&[
            TrainStepEnd,
            TrainEpochEnd,
            EvalStepEnd,
            EvalEpochEnd,
            PredictStepEnd,
            PredictEpochEnd,
        ]);
        ENDS.contains(self)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of events.
///
/// ```
/// use regimen_core::callback::{Event, Events};
/// let ends = Event::TrainEnd | Event::EvalEnd;
/// assert!(ends.contains(Event::EvalEnd) && !ends.contains(Event::PredictEnd));
/// assert_eq!(ends | Event::PredictEnd, Events::of(&[Event::TrainEnd, Event::EvalEnd, Event::PredictEnd]));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u32);

impl Events {
    /// No event.
    pub const NONE: Events = Events(0);
    /// Every event.
    pub const ALL: Events = Events::of(Event::ALL);

    /// The events listed.
    pub const fn of(list: &[Event]) -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < list.len() {
            bits |= list[i].bit();
            i += 1;
        }
        Events(bits)
    }

    /// Whether `event` is in the set.
    pub const fn contains(self, event: Event) -> bool {
        self.0 & event.bit() != 0
    }
}

impl From<Event> for Events {
    fn from(event: Event) -> Events {
        Events::of(&[event])
    }
}

impl<E: Into<Events>> BitOr<E> for Events {
    type Output = Events;

    fn bitor(self, other: E) -> Events {
        Events(self.0 | other.into().0)
    }
}

impl<E: Into<Events>> BitOr<E> for Event {
    type Output = Events;

    fn bitor(self, other: E) -> Events {
        Events::from(self) | other
    }
}

/// An event, optionally at a cadence: the trigger of a closure given to [`Run::on`](crate::Run::on).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    pub(crate) event: Event,
    pub(crate) every: Option<Every>,
}

impl From<Event> for Trigger {
    fn from(event: Event) -> Trigger {
        Trigger { event, every: None }
    }
}
