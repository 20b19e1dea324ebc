//! Callbacks: observers of a run.

pub(crate) mod closure;
pub(crate) mod dispatch;
mod event;
mod every;
mod ranks;
mod timed;

pub use closure::Outcome;
pub use event::{Event, Events, Trigger};
pub use every::Every;
pub use ranks::Ranks;

use std::borrow::Cow;

use crate::run::Report;
use crate::saved::Stateful;
use crate::{BoxError, Error, State};

/// Work that a [callback](Callback::before_commit) leaves to the saver. After an error the checkpoint is not
/// acknowledged.
pub type BeforeCommit = Box<dyn FnOnce() -> Result<(), BoxError> + Send>;

/// An observer of runs of units of type `U`: logs, bars, early stopping.
///
/// *Callbacks observe; wrappers change.* To alter batches wrap the data; to alter a step wrap the
/// unit; to touch gradients or rates give [`AutoUnit`](crate::AutoUnit) a hook or a schedule.
///
/// **Order.** At every event the unit's own hook runs first, then the callbacks in order of
/// registration. Those that [write down](Callback::writes_down) the logs of others run after the
/// others, and the saver last.
///
/// **Errors.** If a hook returns an error, no later callback is sent that event; but the end of a step
/// or an epoch is counted, so all callbacks and the saver receive it. Pending notices are sent, then
/// [`on_error`](Callback::on_error) of every callback runs, and the entry point returns the error with
/// the callback's name and the event. Counters keep what was completed: after an error at a step end
/// the step counts. After one before that it does not, and all logs since its fetch began are taken
/// back. The run can be called again and continues from there.
///
/// **Panics** are caught and treated as errors, of which [`is_panic`](Error::is_panic) is true.
///
/// **Stops.** [`State::pause`] and [`State::finish`] may be called in any hook and are seen at the
/// next boundary of a step: at a fetch or a step start, that step is still made; at a start or an
/// epoch start, none is. A stop in mid-epoch leaves the epoch open, so its end hooks do not run;
/// the `end` hooks of the phase do.
///
/// **Ranks.** Among several [ranks](crate::Run::peers) a callback runs on [each](Callback::ranks), or on the first. A stop
/// that one asks for is one of all, so a callback may decide by a clock or by the value of a step. One that calls
/// [peers](State::peers) itself does so on all ranks at the same events and steps.
///
/// A callback is `Send`, so that a run may move to another thread with all it holds.
///
/// A closure is a callback of one event, given to [`Run::on`](crate::Run::on); a type can watch all
/// events. A program with both:
///
/// ```
/// use regimen_core::callback::{Event, Every};
/// use regimen_core::run::Train;
/// use regimen_core::unit::TrainUnit;
/// use regimen_core::{BoxError, Callback, Error, Run, State};
/// # struct Sum(u64);
/// # impl TrainUnit for Sum {
/// #     type Batch = u64;
/// #     fn train_step(&mut self, _: &mut State, batch: u64) -> Result<(), BoxError> {
/// #         self.0 += batch;
/// #         Ok(())
/// #     }
/// # }
///
/// struct StopAfter(u64);
///
/// impl<U> Callback<U> for StopAfter {
///     fn on_train_step_end(&mut self, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
///         if state.train_progress().samples >= self.0 { state.pause("that is enough") }
///         Ok(())
///     }
/// }
///
/// fn main() -> Result<(), Error> {
///     let mut unit = Sum(0);
///     # let told = std::sync::Mutex::new(Vec::new());
///     # macro_rules! println { ($($part:tt)*) => { told.lock().unwrap().push(format!($($part)*)) }; }
///     Run::new(&mut unit)
///         .callback(StopAfter(5))
///         .on(Event::TrainStepEnd.every(Every::steps(2)), |state: &mut State, unit: &mut Sum| {
///             println!("step {}: the sum is {}", state.train_progress().steps, unit.0);
///         })
///         .train(&[1, 2, 3], Train::epochs(9))?;
///     # assert_eq!(*told.lock().unwrap(), ["step 2: the sum is 3", "step 4: the sum is 7"]);
///     # assert_eq!(unit.0, 9);
///     Ok(())
/// }
/// ```
pub trait Callback<U: ?Sized>: Send {
    /// The name of this callback in errors and checkpoints; a second one of the same name gets a number
    /// behind it. A callback with saved state names here the metric it watches, so that it finds its
    /// state again. Default: the type's name without its path and parameters.
    fn name(&self) -> Cow<'static, str> {
        let name = std::any::type_name::<Self>();
        let name = name.split('<').next().unwrap_or(name);
        Cow::Borrowed(name.rsplit("::").next().unwrap_or(name))
    }

    /// The events this callback is sent, read once when it is registered. Default: all. An event that
    /// is not named costs nothing.
    fn events(&self) -> Events {
        Events::ALL
    }

    /// The cadence at which it reads the metrics of single steps, read once when it is registered: the
    /// answer of [`State::wants_metrics`]. Default: never.
    fn metrics_every(&self) -> Every {
        Every::NEVER
    }

    /// Whether it writes down the logs of others, and so is called after them; read once when it is
    /// registered. Default: no.
    fn writes_down(&self) -> bool {
        false
    }

    /// The [ranks](State::rank) on which it is sent events, errors and reports; read once when it is
    /// registered. Default: all.
    ///
    /// Its [metrics](Callback::metrics_every) and [saved state](Callback::stateful) count on every
    /// rank: all must measure the same, and can restore the same checkpoint.
    fn ranks(&self) -> Ranks {
        Ranks::All
    }

    /// The saved state of this callback in checkpoints; nothing by default.
    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    /// Work that makes durable what the state in a checkpoint refers to, such as the records of a log. Asked
    /// for after [`stateful`](Callback::stateful) by a saver, which does it on the thread that writes, before
    /// it acknowledges the checkpoint. `None` by default.
    fn before_commit(&mut self) -> Option<BeforeCommit> {
        None
    }

    /// Receives every event. The default calls the hook named after it: override the named hooks to
    /// watch a few events, or this one to watch many alike. If this is overridden the named hooks are
    /// not called.
    fn on_event(&mut self, event: Event, state: &mut State, unit: &mut U) -> Result<(), BoxError> {
        match event {
            Event::CycleStart => self.on_cycle_start(state, unit),
            Event::CycleEnd => self.on_cycle_end(state, unit),
            Event::TrainStart => self.on_train_start(state, unit),
            Event::TrainEpochStart => self.on_train_epoch_start(state, unit),
            Event::TrainFetchStart => self.on_train_fetch_start(state, unit),
            Event::TrainFetchEnd => self.on_train_fetch_end(state, unit),
            Event::TrainStepStart => self.on_train_step_start(state, unit),
            Event::TrainStepEnd => self.on_train_step_end(state, unit),
            Event::TrainEpochEnd => self.on_train_epoch_end(state, unit),
            Event::TrainEnd => self.on_train_end(state, unit),
            Event::EvalStart => self.on_eval_start(state, unit),
            Event::EvalEpochStart => self.on_eval_epoch_start(state, unit),
            Event::EvalFetchStart => self.on_eval_fetch_start(state, unit),
            Event::EvalFetchEnd => self.on_eval_fetch_end(state, unit),
            Event::EvalStepStart => self.on_eval_step_start(state, unit),
            Event::EvalStepEnd => self.on_eval_step_end(state, unit),
            Event::EvalEpochEnd => self.on_eval_epoch_end(state, unit),
            Event::EvalEnd => self.on_eval_end(state, unit),
            Event::PredictStart => self.on_predict_start(state, unit),
            Event::PredictEpochStart => self.on_predict_epoch_start(state, unit),
            Event::PredictFetchStart => self.on_predict_fetch_start(state, unit),
            Event::PredictFetchEnd => self.on_predict_fetch_end(state, unit),
            Event::PredictStepStart => self.on_predict_step_start(state, unit),
            Event::PredictStepEnd => self.on_predict_step_end(state, unit),
            Event::PredictEpochEnd => self.on_predict_epoch_end(state, unit),
            Event::PredictEnd => self.on_predict_end(state, unit),
            Event::Notice => self.on_notice(state, unit),
        }
    }

    /// Something failed: called for every failure once, caught panics included, before the entry point
    /// returns `error`. It can replace nothing; a panic in here is kept in [`Error::suppressed`], and
    /// the other callbacks are still called.
    fn on_error(&mut self, _state: &State, _unit: &mut U, _error: &Error) {}

    /// A call of `train` or `fit` ended without an error, and everything is saved: adds to `report`, for
    /// example the [best](Report::add_best) value of a metric. The saver and earlier callbacks have
    /// added theirs. A notice that is added is sent as the others are. Nothing by default.
    fn sum_up(&mut self, _report: &mut Report) {}

    /// A call ended without an error: `report` is what it returns, after every callback and the saver
    /// have added to it. A panic in here is an error of the call.
    fn on_report(&mut self, _report: &Report) {}

    /// `fit` begins a cycle: a training epoch and the evaluations run for it. An error ends the
    /// call before any step; a stop ends it with the cycle open.
    fn on_cycle_start(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// A cycle of `fit` is complete. An error ends the call with the cycle complete; a stop ends
    /// it before the next cycle.
    fn on_cycle_end(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// A call of `train` or `fit` begins. An error ends it before any epoch; so does a stop, and
    /// `on_train_end` still runs.
    fn on_train_start(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// A training epoch begins; not called when a paused one goes on. An error or a stop ends the
    /// call with the epoch open and no step made.
    fn on_train_epoch_start(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// The next training batch is about to be asked for. After an error it was not asked for; after
    /// a stop it is, and its step is made.
    fn on_train_fetch_start(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// A training batch has arrived. After an error it is not trained on and not counted; after a
    /// stop its step is still made.
    fn on_train_fetch_end(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// `train_step` is about to be called; counters do not count it yet. After an error it is not
    /// called; after a stop it is.
    fn on_train_step_start(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// `train_step` has returned and is counted. After an error the step stays counted; after a
    /// stop no further step is made.
    fn on_train_step_end(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// A training epoch ended by its data or its cap; it is counted. Logs made here belong to
    /// it. An error ends the call with the epoch counted; a stop ends it before the evaluation that may be
    /// due, which stays due.
    fn on_train_epoch_end(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// The call of `train` or `fit` ends, at a limit or paused. An error is returned instead of the
    /// report; a stop changes nothing any more.
    fn on_train_end(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// An evaluation begins, by itself or in `fit`. An error ends the call with the evaluation
    /// still due; so does a stop.
    fn on_eval_start(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// The pass over the evaluation data begins; not called when a paused one goes on. An error or
    /// a stop ends the call with no step made.
    fn on_eval_epoch_start(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// The next evaluation batch is about to be asked for. After an error it was not asked for;
    /// after a stop it is, and its step is made.
    fn on_eval_fetch_start(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// An evaluation batch has arrived. After an error it is not evaluated and not counted; after a
    /// stop its step is still made.
    fn on_eval_fetch_end(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// `eval_step` is about to be called; counters do not count it yet. After an error it is not
    /// called; after a stop it is.
    fn on_eval_step_start(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// `eval_step` has returned and is counted. After an error the step stays counted; after a stop
    /// the evaluation is left half done, and goes on when the run does.
    fn on_eval_step_end(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// The pass is complete and counted. Logs made here belong to it. An error ends the call
    /// with the pass counted; a stop ends the call after `on_eval_end`.
    fn on_eval_epoch_end(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// The evaluation ends, complete or paused. An error ends the call; in `fit`, a stop pauses the
    /// training too; by hand, it changes nothing any more.
    fn on_eval_end(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// A prediction begins. An error ends the call; so does a stop, and `on_predict_end` still
    /// runs.
    fn on_predict_start(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// The pass over the data begins; not called when a paused one goes on. An error or a stop ends
    /// the call with no step made.
    fn on_predict_epoch_start(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// The next batch to predict is about to be asked for. After an error it was not asked for;
    /// after a stop it is, and its step is made.
    fn on_predict_fetch_start(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// A batch to predict has arrived. After an error it is not predicted and not counted; after a
    /// stop its step is still made.
    fn on_predict_fetch_end(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// `predict_step` is about to be called; counters do not count it yet. After an error it is not
    /// called; after a stop it is.
    fn on_predict_step_start(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// `predict_step` has returned, its output is with the sink, and it is counted. After an error
    /// the step stays counted; after a stop no further step is made.
    fn on_predict_step_end(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// The pass is complete and counted. An error ends the call with the pass counted; a stop
    /// changes nothing any more.
    fn on_predict_epoch_end(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// The prediction ends, complete or paused. An error is returned instead of the report.
    fn on_predict_end(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }

    /// [`State::notices`] has a message that is no error: a slow worker, a sample skipped, a checkpoint
    /// passed over. An error ends the call; a stop pauses it before the next step.
    fn on_notice(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<U: ?Sized, C: Callback<U> + ?Sized> Callback<U> for Box<C> {
    fn name(&self) -> Cow<'static, str> {
        (**self).name()
    }

    fn events(&self) -> Events {
        (**self).events()
    }

    fn metrics_every(&self) -> Every {
        (**self).metrics_every()
    }

    fn writes_down(&self) -> bool {
        (**self).writes_down()
    }

    fn ranks(&self) -> Ranks {
        (**self).ranks()
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        (**self).stateful()
    }

    fn before_commit(&mut self) -> Option<BeforeCommit> {
        (**self).before_commit()
    }

    fn on_event(&mut self, event: Event, state: &mut State, unit: &mut U) -> Result<(), BoxError> {
        (**self).on_event(event, state, unit)
    }

    fn on_error(&mut self, state: &State, unit: &mut U, error: &Error) {
        (**self).on_error(state, unit, error);
    }

    fn sum_up(&mut self, report: &mut Report) {
        (**self).sum_up(report);
    }

    fn on_report(&mut self, report: &Report) {
        (**self).on_report(report);
    }
}
