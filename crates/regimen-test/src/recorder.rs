//! Recording callback.

use std::borrow::Cow;
use std::fmt;

use regimen_core::callback::{Event, Events};
use regimen_core::{BoxError, Callback, Error, State};

use crate::act::Plan;
use crate::{Act, Transcript};

/// A callback for any unit that records every event in a [`Transcript`], and can act at some.
///
/// The event `train step end` is recorded as `cb.train_step_end`. A failure is `cb.error(Unit)`, with the
/// [kind](regimen_core::error::ErrorKind) of the error, or `cb.error(Panic)` for a panic of any kind.
///
/// ```
/// use regimen_core::callback::{Event, Events};
/// use regimen_core::Run;
/// use regimen_core::run::Train;
/// use regimen_test::{Act, Recorder, RecordingUnit, Transcript};
///
/// let transcript = Transcript::new();
/// let mut unit = RecordingUnit::new(&transcript);
/// let recorder = Recorder::new(&transcript)
///     .events(Events::of(&[Event::TrainStepEnd, Event::TrainEnd]))
///     .at(Event::TrainStepEnd, 2, Act::Stop);
/// let mut run = Run::new(&mut unit).callback(recorder);
/// run.train(&[10, 20, 30], Train::epochs(1))?;
/// transcript.assert_reads(
///     "unit.train_start unit.train_epoch_start
///      unit.train_step(10) cb.train_step_end
///      unit.train_step(20) cb.train_step_end
///      unit.train_end cb.train_end",
/// );
/// # Ok::<(), regimen_core::Error>(())
/// ```
pub struct Recorder {
    name: Cow<'static, str>,
    transcript: Transcript,
    events: Events,
    plan: Plan<Event>,
    show: Option<Show>,
}

type Show = Box<dyn Fn(&State) -> String + Send>;

impl Recorder {
    /// Creates a recorder of all events, with the name `cb`.
    pub fn new(transcript: &Transcript) -> Self {
        let (transcript, plan) = (transcript.clone(), Plan::new());
        Recorder { name: Cow::Borrowed("cb"), transcript, events: Events::ALL, plan, show: None }
    }

    /// Sets the name in the transcript and of the callback in errors.
    pub fn named(self, name: impl Into<Cow<'static, str>>) -> Self {
        Recorder { name: name.into(), ..self }
    }

    /// Subscribes to `events` only.
    pub fn events(self, events: Events) -> Self {
        Recorder { events, ..self }
    }

    /// Performs `act` once, at the `n`-th `event`, counted from 1.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    pub fn at(mut self, event: Event, n: u64, act: Act) -> Self {
        self.plan.add(event, n, act);
        self
    }

    /// Appends the result of `show` to every word, in parentheses: `cb.train_step_end(2/7)`.
    pub fn showing(self, show: impl Fn(&State) -> String + Send + 'static) -> Self {
        Recorder { show: Some(Box::new(show)), ..self }
    }
}

impl<U: ?Sized> Callback<U> for Recorder {
    fn name(&self) -> Cow<'static, str> {
        self.name.clone()
    }

    fn events(&self) -> Events {
        self.events
    }

    fn on_event(&mut self, event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        let shown = self.show.as_ref().map_or(String::new(), |show| format!("({})", show(state)));
        self.transcript.write(format!("{}.{}{shown}", self.name, event.name().replace(' ', "_")));
        self.plan.perform(event, state)
    }

    fn on_error(&mut self, _state: &State, _unit: &mut U, error: &Error) {
        let kind = format!("{:?}", error.kind());
        let kind = if error.is_panic() { "Panic" } else { kind.split('(').next().unwrap_or_default() };
        self.transcript.write(format!("{}.error({kind})", self.name));
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("name", &self.name).field("plan", &self.plan).finish_non_exhaustive()
    }
}
