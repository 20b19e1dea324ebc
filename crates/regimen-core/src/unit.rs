//! Units: the step of training, evaluation and prediction, with its hooks.

use crate::{BoxError, State};

/// A unit that [`train`](crate::run::train) and [`fit`](crate::run::fit) can train.
///
/// Only [`train_step`](TrainUnit::train_step) must be written. The hooks are called before the
/// callbacks' hooks of the same name. An error from any method ends the call of the entry point: no
/// further method runs except the callbacks' `on_error`, and the error is returned with its place. The
/// step that failed is not counted, and a second call continues with the same batch.
///
/// A panic inside a method is caught and becomes an error. Changes that the unit made before it stay.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be trained: it has no `train_step`",
    note = "implement `TrainUnit` for `{Self}`"
)]
pub trait TrainUnit {
    /// The input of one step.
    type Batch;

    /// Trains on one batch. Counters in `state` do not yet count this step.
    fn train_step(&mut self, state: &mut State, batch: Self::Batch) -> Result<(), BoxError>;

    /// A call of `train` or `fit` begins.
    fn on_train_start(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }

    /// A training epoch begins. Not called again when a paused epoch goes on.
    fn on_train_epoch_start(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }

    /// A training epoch ended, by its data or its cap. It is counted already; logs made here
    /// still belong to it.
    fn on_train_epoch_end(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }

    /// The call of `train` or `fit` ends, at its limit or paused. Not called after an error.
    fn on_train_end(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A unit that [`evaluate`](crate::run::evaluate) and [`fit`](crate::run::fit) can evaluate.
///
/// Order, errors and panics as in [`TrainUnit`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be evaluated: it has no `eval_step`",
    note = "implement `EvalUnit` for `{Self}`, or call `train` instead of `fit`"
)]
pub trait EvalUnit {
    /// The input of one step.
    type Batch;

    /// Evaluates one batch. Counters in `state` do not yet count this step.
    fn eval_step(&mut self, state: &mut State, batch: Self::Batch) -> Result<(), BoxError>;

    /// An evaluation begins.
    fn on_eval_start(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }

    /// The pass over the evaluation data begins. Not called again when a paused one goes on.
    fn on_eval_epoch_start(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }

    /// The pass is complete. It is counted already; logs made here still belong to it.
    fn on_eval_epoch_end(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }

    /// The evaluation ends, complete or paused. Not called after an error.
    fn on_eval_end(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A unit that [`predict`](crate::run::predict) can run.
///
/// Order, errors and panics as in [`TrainUnit`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot predict: it has no `predict_step`",
    note = "implement `PredictUnit` for `{Self}`"
)]
pub trait PredictUnit {
    /// The input of one step.
    type Batch;

    /// The output of one step. It goes to the sink of `predict` and is kept nowhere else.
    type Output;

    /// Predicts for one batch. Counters in `state` do not yet count this step.
    fn predict_step(&mut self, state: &mut State, batch: Self::Batch) -> Result<Self::Output, BoxError>;

    /// A prediction begins.
    fn on_predict_start(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }

    /// The pass over the data begins. Not called again when a paused one goes on.
    fn on_predict_epoch_start(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }

    /// The pass is complete. It is counted already; logs made here still belong to it.
    fn on_predict_epoch_end(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }

    /// The prediction ends, complete or paused. Not called after an error.
    fn on_predict_end(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }
}
