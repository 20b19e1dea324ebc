//! The three kinds of pass over data, as the loop sees them.

use super::Sink;
use crate::callback::Event;
use crate::error::ErrorKind;
use crate::error::guard::guard;
use crate::state::Phase;
use crate::unit::{EvalUnit, PredictUnit, TrainUnit};
use crate::{BoxError, Error, State};

/// What differs between training, evaluation and prediction.
pub(crate) trait Pass<U: ?Sized> {
    const PHASE: Phase;
    const EVENTS: PassEvents;
    type Batch;

    fn step(&mut self, unit: &mut U, state: &mut State, batch: Self::Batch) -> Result<(), Error>;
    fn hook(&mut self, unit: &mut U, state: &mut State, hook: Hook) -> Result<(), Error>;

    /// The pass begins, or goes on.
    fn begin(&mut self, _state: &mut State) -> Result<(), Error> {
        Ok(())
    }

    /// The pass ends, is left open, or has failed.
    fn settle(&mut self, _state: &mut State) -> Result<(), Error> {
        Ok(())
    }
}

/// The events of a pass.
pub(crate) struct PassEvents {
    pub(crate) start: Event,
    pub(crate) epoch_start: Event,
    pub(crate) fetch_start: Event,
    pub(crate) fetch_end: Event,
    pub(crate) step_start: Event,
    pub(crate) step_end: Event,
    pub(crate) epoch_end: Event,
    pub(crate) end: Event,
}

/// The hooks a unit has in every pass.
#[derive(Clone, Copy)]
pub(crate) enum Hook {
    Start,
    EpochStart,
    EpochEnd,
    End,
}

/// Calls a method of the unit.
fn call<R>(
    state: &mut State,
    method: &'static str,
    f: impl FnOnce(&mut State) -> Result<R, BoxError>,
) -> Result<R, Error> {
    let called = guard(|| {
        let result = f(state)?;
        state.check_logged()?;
        Ok(result)
    });
    called.map_err(|caught| {
        // What else it may have logged wrongly is not somebody else's fault.
        let _ = state.check_logged();
        caught.at(state, ErrorKind::Unit(method))
    })
}

macro_rules! pass {
    ($phase:ident, $($event:ident)*; $start:ident $epoch_start:ident $epoch_end:ident $end:ident) => {
        const PHASE: Phase = Phase::$phase;
        const EVENTS: PassEvents = pass!(@events $($event)*);

        fn hook(&mut self, unit: &mut U, state: &mut State, hook: Hook) -> Result<(), Error> {
            match hook {
                Hook::Start => call(state, stringify!($start), |state| unit.$start(state)),
                Hook::EpochStart => call(state, stringify!($epoch_start), |state| unit.$epoch_start(state)),
                Hook::EpochEnd => call(state, stringify!($epoch_end), |state| unit.$epoch_end(state)),
                Hook::End => call(state, stringify!($end), |state| unit.$end(state)),
            }
        }
    };
    (@events $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident) => {
        PassEvents {
            start: Event::$a,
            epoch_start: Event::$b,
            fetch_start: Event::$c,
            fetch_end: Event::$d,
            step_start: Event::$e,
            step_end: Event::$f,
            epoch_end: Event::$g,
            end: Event::$h,
        }
    };
}

pub(crate) struct TrainPass;

impl<U: TrainUnit + ?Sized> Pass<U> for TrainPass {
    type Batch = U::Batch;
    pass!(Train, TrainStart TrainEpochStart TrainFetchStart TrainFetchEnd TrainStepStart TrainStepEnd TrainEpochEnd TrainEnd;
        on_train_start on_train_epoch_start on_train_epoch_end on_train_end);

    fn step(&mut self, unit: &mut U, state: &mut State, batch: U::Batch) -> Result<(), Error> {
        call(state, "train_step", |state| unit.train_step(state, batch))
    }
}

pub(crate) struct EvalPass;

impl<U: EvalUnit + ?Sized> Pass<U> for EvalPass {
    type Batch = U::Batch;
    pass!(Eval, EvalStart EvalEpochStart EvalFetchStart EvalFetchEnd EvalStepStart EvalStepEnd EvalEpochEnd EvalEnd;
        on_eval_start on_eval_epoch_start on_eval_epoch_end on_eval_end);

    fn step(&mut self, unit: &mut U, state: &mut State, batch: U::Batch) -> Result<(), Error> {
        call(state, "eval_step", |state| unit.eval_step(state, batch))
    }
}

/// Prediction, and where its outputs go.
pub(crate) struct PredictPass<S>(pub(crate) S);

impl<U, S> Pass<U> for PredictPass<&mut S>
where
    U: PredictUnit + ?Sized,
    S: Sink<U::Output> + ?Sized,
{
    type Batch = U::Batch;
    pass!(Predict, PredictStart PredictEpochStart PredictFetchStart PredictFetchEnd PredictStepStart PredictStepEnd PredictEpochEnd PredictEnd;
        on_predict_start on_predict_epoch_start on_predict_epoch_end on_predict_end);

    fn step(&mut self, unit: &mut U, state: &mut State, batch: U::Batch) -> Result<(), Error> {
        let output = call(state, "predict_step", |state| unit.predict_step(state, batch))?;
        guard(|| self.0.write(output)).map_err(|caught| {
            // Whatever the unit says of it: without its output the step has not happened.
            state.revoke_commit();
            caught.at(state, ErrorKind::Sink)
        })
    }

    fn begin(&mut self, state: &mut State) -> Result<(), Error> {
        let progress = state.progress();
        let goes_on = progress.steps_in_epoch > 0 || progress.epochs > 0;
        let saved = state.active_phase_mut().sink.clone();
        guard(|| self.0.begin(goes_on.then_some(&saved))).map_err(|caught| caught.at(state, ErrorKind::Sink))
    }

    fn settle(&mut self, state: &mut State) -> Result<(), Error> {
        match guard(|| self.0.position()) {
            Ok(position) => {
                state.active_phase_mut().sink = position;
                Ok(())
            }
            Err(caught) => Err(caught.at(state, ErrorKind::Sink)),
        }
    }
}
