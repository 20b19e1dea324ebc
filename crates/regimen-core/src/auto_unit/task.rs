//! What the user of [`AutoUnit`](crate::AutoUnit) writes.

use crate::engine::{Engine, Mode, ToDevice};
use crate::metric::reading::Reading;
use crate::{BoxError, State};

/// A training task: how a batch becomes a loss. [`AutoUnit`](crate::AutoUnit) does the rest.
///
/// Only [`compute_loss`](Task::compute_loss) must be written. The hooks are called as those of
/// [`TrainUnit`](crate::unit::TrainUnit) and [`EvalUnit`](crate::unit::EvalUnit); nothing of `AutoUnit`
/// depends on them, so overriding one loses nothing.
pub trait Task<E: Engine> {
    /// What one step consumes. It is moved to the engine's device before `compute_loss`.
    type Batch: ToDevice<E::Device>;

    /// What `compute_loss` gives beside the loss, for metrics: logits and targets, say.
    type Output;

    /// The loss of `batch`: its mean, and the weight that mean stands for. Called for training
    /// and for evaluation; `step` says which.
    fn compute_loss(
        &mut self,
        step: &Step,
        module: &E::Module,
        batch: &Self::Batch,
    ) -> Result<(Loss<E::Scalar>, Self::Output), BoxError>;

    /// A call of `train` or `fit` begins.
    fn on_train_start(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }

    /// A training epoch begins.
    fn on_train_epoch_start(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }

    /// The step is complete, the update too if it made one. `state` does not count it yet.
    fn on_train_step_end(
        &mut self,
        _state: &mut State,
        _batch: &Self::Batch,
        _results: StepResults<Self::Output>,
    ) -> Result<(), BoxError> {
        Ok(())
    }

    /// A training epoch ended.
    fn on_train_epoch_end(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }

    /// The call of `train` or `fit` ends.
    fn on_train_end(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }

    /// An evaluation begins.
    fn on_eval_start(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }

    /// The pass over the evaluation data begins.
    fn on_eval_epoch_start(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }

    /// The loss of an evaluation batch is computed. Of `results`, only loss, weight and output say
    /// something here.
    fn on_eval_step_end(
        &mut self,
        _state: &mut State,
        _batch: &Self::Batch,
        _results: StepResults<Self::Output>,
    ) -> Result<(), BoxError> {
        Ok(())
    }

    /// The pass over the evaluation data is complete.
    fn on_eval_epoch_end(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }

    /// The evaluation ends.
    fn on_eval_end(&mut self, _state: &mut State) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A task that can also predict: what `predict` with an [`AutoUnit`](crate::AutoUnit) asks for.
pub trait PredictTask<E: Engine>: Task<E> {
    /// What one step consumes. It is moved to the engine's device before `predict`.
    type Input: ToDevice<E::Device>;

    /// What one step gives to the sink.
    type Prediction;

    /// The prediction for `input`, on the evaluation view of the module.
    fn predict(
        &mut self,
        step: &Step,
        module: &E::Module,
        input: Self::Input,
    ) -> Result<Self::Prediction, BoxError>;
}

/// Which step is being made, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// What the module is run for: a layer that must be told (dropout in libtorch) is told this.
    pub mode: Mode,
    /// Completed epochs of the phase.
    pub epoch: u64,
    /// Completed steps of the phase: 0 for the first.
    pub index: u64,
    /// What the engine's generators were seeded with for this step.
    pub seed: u64,
}

impl Step {
    /// The step that `state` is at, in `mode`.
    pub fn new(state: &State, mode: Mode) -> Self {
        let progress = state.progress();
        Step { mode, epoch: progress.epochs, index: progress.steps, seed: state.step_seed() }
    }

    /// Whether the module learns from this step.
    pub fn is_train(&self) -> bool {
        self.mode == Mode::Train
    }
}

/// A loss: the mean over a weight of samples or tokens.
///
/// Micro-batches of one accumulation window are put together by their weights: the window's
/// gradient is that of the mean over everything in it, however it was split.
#[derive(Clone, Debug)]
pub struct Loss<S> {
    /// The mean, on the device, with its graph.
    pub mean: S,
    /// How many samples or tokens it is the mean of. Zero counts for nothing; anything else that is not
    /// from 1e-15 to 1e15 is an error of the step.
    pub weight: f64,
}

impl<S> Loss<S> {
    /// A mean over `weight` samples or tokens.
    pub fn mean(mean: S, weight: f64) -> Self {
        Loss { mean, weight }
    }
}

/// What came of a step.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StepResults<O> {
    pub(crate) loss: Reading,
    pub(crate) gradient_norm: Option<Reading>,
    /// The weight the task gave it.
    pub weight: f64,
    /// What `compute_loss` gave beside it.
    pub output: O,
    /// Whether this step ended in an optimizer step.
    pub updated: bool,
    /// Whether this step ended its window without one, because something was not finite.
    pub skipped: bool,
}

impl<O> StepResults<O> {
    pub(crate) fn new(loss: Reading, weight: f64, output: O) -> Self {
        StepResults { loss, weight, output, gradient_norm: None, updated: false, skipped: false }
    }

    /// The loss of this batch, not divided by anything. It is read here if it is still on the device, and
    /// that waits for the device.
    pub fn loss(&self) -> Result<f64, BoxError> {
        self.loss.get()
    }

    /// The Euclidean norm of the window's gradient before clipping, or `None` if this step took none. It is read
    /// as the [loss](StepResults::loss) is.
    pub fn gradient_norm(&self) -> Result<Option<f64>, BoxError> {
        self.gradient_norm.as_ref().map(Reading::get).transpose()
    }
}
