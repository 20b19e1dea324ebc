//! A callback on the first rank alone.

use std::borrow::Cow;

use super::{Event, Events, Every, Ranks};
use crate::run::Report;
use crate::saved::Stateful;
use crate::{BoxError, Callback, Error, State};

/// A callback that is sent events on the first rank alone: for one that prints or writes files and does not say so
/// [itself](Callback::ranks). The rank is that of the run, so the decision is made when it runs. A callback that calls
/// [peers](State::peers), as [`SlowRanks`](super::SlowRanks) does, must be on all ranks instead.
///
/// ```
/// # use regimen::callback::ProgressBar;
/// # use regimen::{Callback, Run};
/// use regimen::callback::FirstRank;
///
/// # fn example<'a, U>(run: Run<'a, U>, mine: impl Callback<U> + 'a) -> Run<'a, U> {
/// run.callback(FirstRank(mine))
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FirstRank<C>(pub C);

impl<U: ?Sized, C: Callback<U>> Callback<U> for FirstRank<C> {
    fn name(&self) -> Cow<'static, str> {
        self.0.name()
    }

    fn events(&self) -> Events {
        self.0.events()
    }

    fn metrics_every(&self) -> Every {
        self.0.metrics_every()
    }

    fn writes_down(&self) -> bool {
        self.0.writes_down()
    }

    fn ranks(&self) -> Ranks {
        Ranks::First
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        self.0.stateful()
    }

    fn on_event(&mut self, event: Event, state: &mut State, unit: &mut U) -> Result<(), BoxError> {
        self.0.on_event(event, state, unit)
    }

    fn on_error(&mut self, state: &State, unit: &mut U, error: &Error) {
        self.0.on_error(state, unit, error);
    }

    fn sum_up(&mut self, report: &mut Report) {
        self.0.sum_up(report);
    }

    fn on_report(&mut self, report: &Report) {
        self.0.on_report(report);
    }
}
