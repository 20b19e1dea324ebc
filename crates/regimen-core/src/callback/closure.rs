//! Closures as callbacks.

use std::borrow::Cow;

use super::{Event, Events, Trigger};
use crate::{BoxError, Callback, State};

/// A closure that is called at an event, registered by [`Run::on`](crate::Run::on).
pub(crate) struct On<F> {
    trigger: Trigger,
    call: F,
}

impl<F> On<F> {
    pub(crate) fn new(trigger: Trigger, call: F) -> Self {
        On { trigger, call }
    }
}

impl<U: ?Sized, F, R> Callback<U> for On<F>
where
    F: FnMut(&mut State, &mut U) -> R + Send,
    R: Outcome,
{
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("closure")
    }

    fn events(&self) -> Events {
        Events::of(&[self.trigger.event])
    }

    fn on_event(&mut self, event: Event, state: &mut State, unit: &mut U) -> Result<(), BoxError> {
        let progress = event.phase().map_or(state.train_progress(), |phase| state.progress_of(phase));
        let due = match self.trigger.every {
            None => true,
            Some(every) if event.ends_step_or_epoch() => state.is_due(every),
            Some(every) => every.divides(progress),
        };
        if due { (self.call)(state, unit).into_result() } else { Ok(()) }
    }
}

/// The result of a closure given to [`Run::on`](crate::Run::on): nothing, or a `Result`.
pub trait Outcome: sealed::Sealed {
    #[doc(hidden)]
    fn into_result(self) -> Result<(), BoxError>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl Sealed for Result<(), crate::BoxError> {}
}

impl Outcome for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl Outcome for Result<(), BoxError> {
    fn into_result(self) -> Result<(), BoxError> {
        self
    }
}
