//! Probes, which tell where the time of a run goes.

use std::fmt;
use std::sync::Arc;

use super::saver::Registered;
use super::{Moment, Report, Restored, Run, Saver, Which};
use crate::callback::Event;
use crate::callback::dispatch::Sending;
use crate::state::{EntryPoint, Phase};
use crate::{BoxError, Error, State};

/// Told what begins and ends in a run, to time it: see [`Run::probe`]. The core reads no clock.
///
/// ```text
/// call began
///   event began, callback ended (for each that was called), event ended
///   part began, part ended
/// call ended
/// ```
///
/// Between the end of an event and the beginning of the next is the time of the loop and of the unit: after
/// [`TrainFetchStart`](Event::TrainFetchStart) that of the data, and after [`TrainStepStart`](Event::TrainStepStart) that
/// of the step. Parts are in there, or in other parts: the saver, and what [`State::time`] names. After an error or a
/// panic the ends of parts, callbacks and events may be missing, up to the next event or the end of the call.
///
/// The methods are called on the thread of the run.
pub trait Probe: fmt::Debug + Send + Sync {
    /// A call of an entry point began.
    fn call_began(&self, entry: EntryPoint);

    /// The call ended, with an error or without.
    fn call_ended(&self);

    /// `event` is about to be sent to the callbacks.
    fn event_began(&self, event: Event, state: &State);

    /// A callback has received the event. The time since the callback before it, or since the event began, is that
    /// of `callback`, which is its name in the run.
    fn callback_ended(&self, callback: &str);

    /// The event was sent to the callbacks.
    fn event_ended(&self, event: Event, state: &State);

    /// The part `name` begins, in the part under way.
    fn part_began(&self, name: &'static str);

    /// The part that began last ends.
    fn part_ended(&self);
}

impl<U: ?Sized> Run<'_, U> {
    /// Tells `probe` what begins and ends in this run; it replaces one given before. `regimen::profile` has the probe for
    /// most runs.
    ///
    /// Without a probe, the loops and the callbacks have not an instruction more. A step of
    /// [`AutoUnit`](crate::AutoUnit) asks for each of its parts whether there is one.
    pub fn probe(mut self, probe: Arc<dyn Probe>) -> Self {
        if self.state.set_probe(probe).is_none() {
            self.callbacks.time();
            self.saver = self.saver.map(Registered::timed);
        }
        self
    }
}

/// Tells the probe of an event, before and behind the callbacks.
pub(crate) fn tell_event(sending: Sending, event: Event, state: &State) {
    if let Some(probe) = state.probe() {
        match sending {
            Sending::Began => probe.event_began(event, state),
            Sending::Ended => probe.event_ended(event, state),
        }
    }
}

/// A saver whose calls are a part.
pub(super) struct TimedSaver<'a>(pub(super) Box<dyn Saver + 'a>);

impl TimedSaver<'_> {
    fn time<R>(
        &mut self,
        moment: &mut Moment<'_>,
        call: impl FnOnce(&mut dyn Saver, &mut Moment<'_>) -> R,
    ) -> R {
        if let Some(probe) = moment.state.probe() {
            probe.part_began("saver");
        }
        let result = call(&mut *self.0, moment);
        if let Some(probe) = moment.state.probe() {
            probe.part_ended();
        }
        result
    }
}

impl Saver for TimedSaver<'_> {
    fn begin(&mut self, phase: Phase, moment: &mut Moment<'_>) -> Result<(), BoxError> {
        self.time(moment, |saver, moment| saver.begin(phase, moment))
    }

    fn on_event(&mut self, event: Event, moment: &mut Moment<'_>) -> Result<(), BoxError> {
        self.time(moment, |saver, moment| saver.on_event(event, moment))
    }

    fn on_error(&mut self, error: &Error, moment: &mut Moment<'_>) {
        self.time(moment, |saver, moment| saver.on_error(error, moment));
    }

    fn sum_up(&mut self, report: &mut Report, moment: &mut Moment<'_>) {
        self.time(moment, |saver, moment| saver.sum_up(report, moment));
    }

    fn restore(&mut self, which: Which<'_>, moment: &mut Moment<'_>) -> Result<Option<Restored>, BoxError> {
        self.time(moment, |saver, moment| saver.restore(which, moment))
    }
}
