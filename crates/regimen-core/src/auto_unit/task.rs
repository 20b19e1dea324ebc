//! The trait that users of [`AutoUnit`](crate::AutoUnit) implement.

use super::few::Few;
use crate::engine::{Engine, Mode, ToDevice, Value};
use crate::metric::Key;
use crate::metric::Reading;
use crate::saved::Stateful;
use crate::{BoxError, State};

/// A training task: turns a batch into a loss. [`AutoUnit`](crate::AutoUnit) does the rest.
///
/// Only [`compute_loss`](Task::compute_loss) is required. The hooks are called as those of
/// [`TrainUnit`](crate::unit::TrainUnit) and [`EvalUnit`](crate::unit::EvalUnit). `AutoUnit` itself uses none
/// of them, so overriding one loses nothing.
pub trait Task<E: Engine> {
    /// The batch of one step. It is moved to the engine's device before `compute_loss`.
    type Batch: ToDevice<E::Device>;

    /// The output of `compute_loss` in addition to the loss, for metrics: logits and targets, say.
    type Output;

    /// The loss of `batch`: a mean and its weight. Called for training and for evaluation; `step` says which.
    fn compute_loss(
        &mut self,
        step: &Step,
        module: &E::Module,
        batch: &Self::Batch,
    ) -> Result<(Loss<E::Scalar>, Self::Output), BoxError>;

    /// The saved state of this task: the part `task` of a checkpoint. Nothing by default.
    ///
    /// A checkpoint without that part loads an empty state into it, as at the beginning.
    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

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

    /// The loss of an evaluation batch is computed. In `results`, only loss, weight and output are set.
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

/// A task that can predict, as `predict` requires. A [`Task`] that is one too predicts with its
/// [`AutoUnit`](crate::AutoUnit), and one without a loss with an [`AutoPredictUnit`](super::AutoPredictUnit).
pub trait PredictTask<E: Engine> {
    /// The input of one step. It is moved to the engine's device before `predict`.
    type Input: ToDevice<E::Device>;

    /// The output of one step, for the sink.
    type Prediction;

    /// The prediction for `input`, on the evaluation view of the module.
    fn predict(
        &mut self,
        step: &Step,
        module: &E::Module,
        input: Self::Input,
    ) -> Result<Self::Prediction, BoxError>;
}

/// The step under way: its mode and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// The mode of the module. Pass it to layers with a flag for training, such as dropout in libtorch.
    pub mode: Mode,
    /// Completed epochs of the phase.
    pub epoch: u64,
    /// Completed steps of the phase: 0 for the first.
    pub index: u64,
    /// Samples in the batch, as its data counts them: 1 if the data counts batches only. Of several ranks, those of
    /// this rank's share.
    pub samples: u64,
    /// The seed of the engine's generators for this step.
    pub seed: u64,
}

impl Step {
    /// The present step of `state`, in `mode`.
    pub fn new(state: &State, mode: Mode) -> Self {
        let progress = state.progress();
        let (samples, seed) = (state.samples_at_hand(), state.step_seed());
        Step { mode, epoch: progress.epochs, index: progress.steps, samples, seed }
    }

    /// Whether the module learns from this step.
    pub fn is_train(&self) -> bool {
        self.mode == Mode::Train
    }
}

/// A loss: the mean over a weight of samples or tokens.
///
/// Micro-batches of one accumulation window are combined by their weights. The window's gradient is that of
/// the mean over all its samples, however they were split.
///
/// Metrics of the batch go with it, by [`with`](Loss::with).
#[derive(Clone, Debug)]
pub struct Loss<S> {
    /// The mean, on the device, with its graph.
    pub mean: S,
    /// Number of samples or tokens in the mean. Zero counts for nothing; any other weight outside 1e-15 to
    /// 1e15 is an error of the step.
    pub weight: f64,
    pub(super) values: Values<S>,
}

/// Values beside a loss.
pub(super) type Values<S> = Few<(Key, Value<S>)>;

impl<S> Loss<S> {
    /// A mean over `weight` samples or tokens.
    pub fn mean(mean: S, weight: f64) -> Self {
        Loss { mean, weight, values: Few::default() }
    }

    /// Logs `value` under `key` beside the loss and with its weight: a metric of the batch, or a part of the
    /// loss. It is logged if the loss is, so not for an update that was skipped.
    ///
    /// A value on the device stays there as the loss does, and is read with it. One that is not a single number
    /// is an error of the step. NaN and infinity are not.
    ///
    /// ```
    /// use regimen_core::Loss;
    /// use regimen_core::engine::Value;
    /// use regimen_core::metric::Key;
    /// # use regimen_test::toy::ToyArray;
    ///
    /// # fn example(loss: ToyArray, right: ToyArray) -> Loss<ToyArray> {
    /// Loss::mean(loss, 64.0).with(Key::mean("eval/accuracy"), Value::Device(right.scale(1.0 / 64.0)))
    /// # }
    /// ```
    pub fn with(mut self, key: Key, value: Value<S>) -> Self {
        self.values.push((key, value));
        self
    }
}

/// Results of a step.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StepResults<O> {
    pub(crate) loss: Reading,
    pub(crate) gradient_norm: Option<Reading>,
    /// Those given to [`Loss::with`].
    pub(crate) values: Few<(Key, Reading)>,
    pub(crate) counted_weight: f64,
    /// The weight that the task gave it.
    pub weight: f64,
    /// The output of `compute_loss`.
    pub output: O,
    /// Whether this step ended in an optimizer step.
    pub updated: bool,
    /// Whether this step ended its window without one, because a loss or gradient was not finite.
    pub skipped: bool,
}

impl<O> StepResults<O> {
    pub(crate) fn new(loss: Reading, values: Few<(Key, Reading)>, weight: f64, output: O) -> Self {
        let (updated, skipped) = (false, false);
        let (gradient_norm, counted_weight) = (None, 0.0);
        StepResults { loss, values, weight, output, gradient_norm, counted_weight, updated, skipped }
    }

    /// Logs the loss under `key`, and the values beside it. If the step does not count, they have no weight.
    pub(crate) fn log(&mut self, key: Key, counts: bool, state: &mut State) {
        let weight = if counts { self.weight } else { 0.0 };
        self.counted_weight = weight;
        state.log_reading(key, self.loss.clone(), weight);
        for (key, value) in self.values.iter() {
            state.log_reading(key.clone(), value.clone(), weight);
        }
    }

    /// The weight of this step in the means of the epoch. Unlike [`weight`](StepResults::weight) it is 0 if the step does
    /// not count, because its loss was not finite and its update was skipped.
    pub fn counted_weight(&self) -> f64 {
        self.counted_weight
    }

    /// The loss of this batch, not divided. If it is still on the device it is read here, and this waits for
    /// the device.
    pub fn loss(&self) -> Result<f64, BoxError> {
        self.loss.get()
    }

    /// The same, not read yet.
    pub fn loss_reading(&self) -> &Reading {
        &self.loss
    }

    /// The values given to [`Loss::with`], in that order. Those that are still on the device are read by
    /// [`Reading::get`].
    pub fn values(&self) -> impl Iterator<Item = &(Key, Reading)> {
        self.values.iter()
    }

    /// The Euclidean norm of the window's gradient before clipping, or `None` if this step took none. It is
    /// read as the [loss](StepResults::loss) is.
    pub fn gradient_norm(&self) -> Result<Option<f64>, BoxError> {
        self.gradient_norm.as_ref().map(Reading::get).transpose()
    }
}
