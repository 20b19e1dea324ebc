//! The three kinds of pass over data, as the loop sees them.

use super::PredictionSink;
use crate::callback::Event;
use crate::error::ErrorKind;
use crate::error::guard::guard;
use crate::state::Phase;
use crate::unit::{EvalUnit, PredictUnit, TrainUnit};
use crate::{BoxError, Error, State};

/// The trait of a pass: training, evaluation or prediction.
pub(crate) trait Pass<U: ?Sized> {
    const PHASE: Phase;
    const EVENTS: PassEvents = PassEvents::of(Self::PHASE);
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

impl PassEvents {
    const fn of(phase: Phase) -> Self {
        use Event::*;
        match phase {
            Phase::Train => PassEvents {
                start: TrainStart,
                epoch_start: TrainEpochStart,
                fetch_start: TrainFetchStart,
                fetch_end: TrainFetchEnd,
                step_start: TrainStepStart,
                step_end: TrainStepEnd,
                epoch_end: TrainEpochEnd,
                end: TrainEnd,
            },
            Phase::Eval => PassEvents {
                start: EvalStart,
                epoch_start: EvalEpochStart,
                fetch_start: EvalFetchStart,
                fetch_end: EvalFetchEnd,
                step_start: EvalStepStart,
                step_end: EvalStepEnd,
                epoch_end: EvalEpochEnd,
                end: EvalEnd,
            },
            Phase::Predict => PassEvents {
                start: PredictStart,
                epoch_start: PredictEpochStart,
                fetch_start: PredictFetchStart,
                fetch_end: PredictFetchEnd,
                step_start: PredictStepStart,
                step_end: PredictStepEnd,
                epoch_end: PredictEpochEnd,
                end: PredictEnd,
            },
        }
    }
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
        // Otherwise its invalid logs would be an error of the next method.
        let _ = state.check_logged();
        caught.at(state, ErrorKind::Unit(method))
    })
}

pub(crate) struct TrainPass;

impl<U: TrainUnit + ?Sized> Pass<U> for TrainPass {
    const PHASE: Phase = Phase::Train;
    type Batch = U::Batch;

    fn hook(&mut self, unit: &mut U, state: &mut State, hook: Hook) -> Result<(), Error> {
        match hook {
            Hook::Start => call(state, "on_train_start", |state| unit.on_train_start(state)),
            Hook::EpochStart => call(state, "on_train_epoch_start", |state| unit.on_train_epoch_start(state)),
            Hook::EpochEnd => call(state, "on_train_epoch_end", |state| unit.on_train_epoch_end(state)),
            Hook::End => call(state, "on_train_end", |state| unit.on_train_end(state)),
        }
    }

    fn step(&mut self, unit: &mut U, state: &mut State, batch: U::Batch) -> Result<(), Error> {
        call(state, "train_step", |state| unit.train_step(state, batch))
    }
}

pub(crate) struct EvalPass;

impl<U: EvalUnit + ?Sized> Pass<U> for EvalPass {
    const PHASE: Phase = Phase::Eval;
    type Batch = U::Batch;

    fn hook(&mut self, unit: &mut U, state: &mut State, hook: Hook) -> Result<(), Error> {
        match hook {
            Hook::Start => call(state, "on_eval_start", |state| unit.on_eval_start(state)),
            Hook::EpochStart => call(state, "on_eval_epoch_start", |state| unit.on_eval_epoch_start(state)),
            Hook::EpochEnd => call(state, "on_eval_epoch_end", |state| unit.on_eval_epoch_end(state)),
            Hook::End => call(state, "on_eval_end", |state| unit.on_eval_end(state)),
        }
    }

    fn step(&mut self, unit: &mut U, state: &mut State, batch: U::Batch) -> Result<(), Error> {
        call(state, "eval_step", |state| unit.eval_step(state, batch))
    }
}

/// Prediction, with the sink of its outputs.
pub(crate) struct PredictPass<S>(pub(crate) S);

impl<U, S> Pass<U> for PredictPass<&mut S>
where
    U: PredictUnit + ?Sized,
    S: PredictionSink<U::Output> + ?Sized,
{
    const PHASE: Phase = Phase::Predict;
    type Batch = U::Batch;

    fn hook(&mut self, unit: &mut U, state: &mut State, hook: Hook) -> Result<(), Error> {
        match hook {
            Hook::Start => call(state, "on_predict_start", |state| unit.on_predict_start(state)),
            Hook::EpochStart => {
                call(state, "on_predict_epoch_start", |state| unit.on_predict_epoch_start(state))
            }
            Hook::EpochEnd => call(state, "on_predict_epoch_end", |state| unit.on_predict_epoch_end(state)),
            Hook::End => call(state, "on_predict_end", |state| unit.on_predict_end(state)),
        }
    }

    fn step(&mut self, unit: &mut U, state: &mut State, batch: U::Batch) -> Result<(), Error> {
        let output = call(state, "predict_step", |state| unit.predict_step(state, batch))?;
        guard(|| self.0.write(output)).map_err(|caught| {
            // Even if the unit committed it: without its output the step has not happened.
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
