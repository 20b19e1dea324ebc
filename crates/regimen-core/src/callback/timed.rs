//! Callbacks whose times are told to a probe.

use std::borrow::Cow;

use super::{BeforeCommit, Event, Events};
use crate::run::Report;
use crate::run::probe::tell_event;
use crate::saved::Stateful;
use crate::{BoxError, Callback, Error, State};

/// A callback that tells the probe that it has received an event.
pub(super) struct Timed<'a, U: ?Sized> {
    pub(super) callback: Box<dyn Callback<U> + 'a>,
    /// Its name in the run.
    pub(super) name: String,
}

impl<U: ?Sized> Callback<U> for Timed<'_, U> {
    fn name(&self) -> Cow<'static, str> {
        self.callback.name()
    }

    fn writes_down(&self) -> bool {
        self.callback.writes_down()
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        self.callback.stateful()
    }

    fn before_commit(&mut self) -> Option<BeforeCommit> {
        self.callback.before_commit()
    }

    fn on_event(&mut self, event: Event, state: &mut State, unit: &mut U) -> Result<(), BoxError> {
        let result = self.callback.on_event(event, state, unit);
        if let Some(probe) = state.probe() {
            probe.callback_ended(&self.name);
            if result.is_err() && !event.ends_step_or_epoch() {
                // It is sent to no other.
                probe.event_ended(event, state);
            }
        }
        result
    }

    fn on_error(&mut self, state: &State, unit: &mut U, error: &Error) {
        self.callback.on_error(state, unit, error);
    }

    fn sum_up(&mut self, report: &mut Report) {
        self.callback.sum_up(report);
    }

    fn on_report(&mut self, report: &Report) {
        self.callback.on_report(report);
    }
}

/// The first and the last in the list: an event is about to be sent, or was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    Began,
    Ended,
}

impl<U: ?Sized> Callback<U> for Sending {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("Probe")
    }

    fn events(&self) -> Events {
        Events::ALL
    }

    fn writes_down(&self) -> bool {
        *self == Sending::Ended
    }

    fn on_event(&mut self, event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        tell_event(*self, event, state);
        Ok(())
    }
}
