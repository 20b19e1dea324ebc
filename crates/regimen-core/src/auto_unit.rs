//! `AutoUnit`: the optimization step written out once, for every engine.

mod anomaly;
mod averaging;
mod parts;
mod plateau;
mod scaler;
mod settings;
mod update;
mod window;

use std::fmt;

use averaging::{Average, Counted, with_weights};
use settings::{Count, Settings};
use update::rate;
use window::Window;

use crate::watch::watched;
use crate::{
    BoxError, Engine, EvalUnit, Key, LearningRates, Loss, Mode, Phase, Precision, PredictTask, PredictUnit,
    State, Step, StepResults, Task, ToDevice, TrainUnit,
};

pub use averaging::Averaging;
pub use plateau::Plateau;
pub use scaler::GradientScaler;
pub use settings::{NonFinite, Thaw};

/// The loss of training, logged by [`AutoUnit`] at every step with the weight of its batch.
pub const TRAIN_LOSS: Key = Key::mean("train/loss");

/// The loss of evaluation, logged by [`AutoUnit`] at every step with the weight of its batch.
pub const EVAL_LOSS: Key = Key::mean("eval/loss");

/// Trains, evaluates and predicts a [`Task`] on an [`Engine`].
///
/// A training step is, in this order:
///
/// ```text
/// move the batch to the device
/// seed the engine from (seed, phase, step, rank)
/// compute the loss                                   Task::compute_loss
/// add its gradients, times its weight, to those held     in fp16 also times the scale
/// hook                                               AutoUnit::after_backward
/// read and log the loss; is it finite?
/// at the end of a window, or of the epoch:
///   divide the held gradients by the window's weight
///   hook                                             AutoUnit::before_update
///   clip by global norm, then by value
///   step the optimizer with the scheduled rates      counted in Progress::updates
///   add the weights to their average
/// hook                                               Task::on_train_step_end
/// ```
///
/// A window is [`accumulate`](AutoUnit::accumulate) steps, or what is left of them when the epoch
/// ends by its data or cap. A limit or a stop does not end it: the held gradients are part of what
/// a checkpoint holds. After an error or a panic once the gradients were touched, the window starts
/// anew with the next step; before that, it is as it was.
pub struct AutoUnit<E: Engine, T: Task<E>> {
    engine: E,
    task: T,
    settings: Settings<E>,
    window: Window,
    /// Updates that were skipped because something was not finite.
    skipped: u64,
    /// Used where [`Settings::is_scaling`] says so.
    scaler: GradientScaler,
    average: Option<Average<E::Weights>>,
    plateau: Option<Plateau>,
    /// Whether the evaluation under way is one of `fit`, of which the plateau learns.
    eval_is_of_fit: bool,
    /// Which groups the engine was told to freeze; nothing where it was told nothing.
    frozen: Vec<bool>,
    /// The rates of the update at hand, one a group; kept to allocate nothing in a step.
    rates: Vec<f64>,
    /// Updates and epochs complete, as of the last step.
    count: Count,
}

impl<E: Engine, T: Task<E>> AutoUnit<E, T> {
    /// Trains `task` on `engine` with a constant learning rate of 1e-3, no accumulation, no
    /// clipping, and an error where something is not finite.
    pub fn new(engine: E, task: T) -> Self {
        AutoUnit {
            engine,
            task,
            settings: Settings::default(),
            window: Window::default(),
            skipped: 0,
            scaler: GradientScaler::new(),
            average: None,
            plateau: None,
            eval_is_of_fit: false,
            frozen: Vec::new(),
            rates: Vec::new(),
            count: Count::default(),
        }
    }

    /// The engine.
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// The engine, to be changed.
    pub fn engine_mut(&mut self) -> &mut E {
        &mut self.engine
    }

    /// The task.
    pub fn task(&self) -> &T {
        &self.task
    }

    /// The task, to be changed.
    pub fn task_mut(&mut self) -> &mut T {
        &mut self.task
    }

    /// Engine and task, by value. The engine computes in single precision again where it was told
    /// something else, and nothing of it is frozen.
    pub fn into_parts(mut self) -> (E, T) {
        // Neither is ever refused.
        if self.settings.precision.is_some_and(|precision| precision != Precision::F32) {
            let _ = self.engine.set_precision(Precision::F32);
        }
        let _ = thaw(&mut self.engine, &mut self.frozen);
        (self.engine, self.task)
    }

    /// How many updates were skipped because something was not finite.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// What losses are multiplied by, where they are scaled.
    pub fn gradient_scale(&self) -> Option<f64> {
        self.settings.is_scaling().then(|| self.scaler.scale())
    }

    /// How often weights were added to their [average](AutoUnit::average).
    pub fn averaged(&self) -> u64 {
        self.average.as_ref().map_or(0, |average| average.taken)
    }

    /// Runs `f` on the engine with the averaged weights in place of those that are trained, which
    /// are back when it returns, also after a panic. Where there is no average yet, none is put in
    /// their place.
    ///
    /// ```
    /// # use regimen_core::{AutoUnit, BoxError, Engine, StateDict, Task};
    /// # fn export<E: Engine, T: Task<E>>(mut unit: AutoUnit<E, T>) -> Result<StateDict, BoxError> {
    /// let averaged = unit.with_averaged_weights(|engine| engine.module_state())?;
    /// # Ok(averaged)
    /// # }
    /// ```
    pub fn with_averaged_weights<R>(&mut self, f: impl FnOnce(&mut E) -> R) -> R {
        let weights = self.average.as_mut().and_then(|average| average.weights.as_mut());
        with_weights(&mut self.engine, weights, f)
    }

    /// Runs `f` on task and engine as they are to be looked at: with the averaged weights where
    /// there are some, unless they are not wanted.
    fn view<R>(&mut self, f: impl FnOnce(&mut T, &mut E) -> R) -> R {
        let AutoUnit { engine, task, average, .. } = self;
        let average = average.as_mut().filter(|average| average.averaging.evaluate);
        with_weights(engine, average.and_then(|average| average.weights.as_mut()), |engine| f(task, engine))
    }

    fn set_precision(&mut self) -> Result<(), BoxError> {
        self.settings.precision.map_or(Ok(()), |precision| self.engine.set_precision(precision))
    }

    /// Freezes and thaws groups, where some are to be.
    fn set_frozen(&mut self) -> Result<(), BoxError> {
        let AutoUnit { engine, settings, frozen, count, .. } = self;
        if settings.frozen.is_empty() {
            return Ok(());
        }
        let wanted = engine.groups().iter().map(|group| settings.is_frozen(group, *count));
        if wanted.clone().eq(frozen.iter().copied()) {
            return Ok(());
        }
        let wanted: Vec<bool> = wanted.collect();
        if !wanted.contains(&false) {
            return Err("`freeze`: all parameter groups are frozen, so there is nothing to train".into());
        }
        engine.freeze(&wanted)?;
        *frozen = wanted;
        Ok(())
    }
}

impl<E: Engine, T: Task<E>> TrainUnit for AutoUnit<E, T> {
    type Batch = T::Batch;

    fn train_step(&mut self, state: &mut State, batch: T::Batch) -> Result<(), BoxError> {
        if self.window.is_torn() {
            self.discard();
        }
        let step = Step::new(state, Mode::Train);
        self.count = Count { updates: state.train().updates, epochs: step.epoch };
        self.set_frozen()?;
        let scale = self.gradient_scale();
        let AutoUnit { engine, task, settings, window, .. } = self;
        let batch = batch.move_to(&engine.device(Mode::Train))?;
        engine.seed(step.seed);
        let mut compute =
            || engine.with_module(Mode::Train, |module| task.compute_loss(&step, module, &batch));
        let (computed, first) = if settings.detect_anomaly { watched(compute) } else { (compute(), None) };
        let (loss, output) = computed?;
        let weight = checked(loss.weight)?;
        if settings.detect_anomaly {
            let value = engine.value(&loss.mean)?;
            if !value.is_finite() {
                return Err(anomaly::of_loss(engine, value, first));
            }
        }

        window.begin(weight, scale);
        engine.backward(&loss.mean, window.backward_factor(settings.accumulate, weight, scale)).map_err(
            |cause| match settings.detect_anomaly {
                true => anomaly::of_gradients(engine, cause.to_string().trim_end_matches('.')),
                false => cause,
            },
        )?;
        window.add(weight);
        if settings.detect_anomaly && scale.is_none() {
            anomaly::check_gradients(engine)?;
        }
        if let Some(hook) = &mut settings.after_backward {
            hook(engine, state)?;
        }
        let value = engine.value(&loss.mean)?;
        if !value.is_finite() {
            match settings.non_finite {
                NonFinite::Error => return Err(anomaly::of_loss(engine, value, None)),
                NonFinite::Skip => window.spoil(),
                NonFinite::Ignore => {}
            }
        }
        let mut results = StepResults::new(value, weight, output);
        if window.is_full(settings.accumulate) || state.last_in_epoch() {
            self.update(state, &mut results)?;
        }
        self.window.end();
        state.log(TRAIN_LOSS, value, weight);
        self.task.on_train_step_end(state, &batch, results)
    }

    fn on_train_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.settings.check(self.engine.groups())?;
        self.scaler.check()?;
        self.average.as_ref().map_or(Ok(()), |average| average.averaging.check())?;
        self.plateau.as_ref().map_or(Ok(()), Plateau::check)?;
        self.set_precision()?;
        // A scaled gradient may overflow: that is found, and no anomaly.
        self.engine.detect_anomaly(self.settings.detect_anomaly && !self.settings.is_scaling());
        self.count = Count { updates: state.train().updates, epochs: state.train().epochs };
        self.task.on_train_start(state)
    }

    fn on_train_epoch_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.count.epochs = state.train().epochs;
        self.task.on_train_epoch_start(state)
    }

    fn on_train_epoch_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.add_to_average(Counted::Epoch(self.count.epochs))?;
        self.task.on_train_epoch_end(state)?;
        self.plateau.as_mut().map_or(Ok(()), |plateau| plateau.look(Phase::Train, state))
    }

    fn on_train_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.task.on_train_end(state)
    }
}

impl<E: Engine, T: Task<E>> EvalUnit for AutoUnit<E, T> {
    type Batch = T::Batch;

    fn eval_step(&mut self, state: &mut State, batch: T::Batch) -> Result<(), BoxError> {
        let step = Step::new(state, Mode::Eval);
        let batch = batch.move_to(&self.engine.device(Mode::Eval))?;
        let results = self.view(|task, engine| {
            engine.seed(step.seed);
            let (Loss { mean, weight }, output) =
                engine.with_module(Mode::Eval, |module| task.compute_loss(&step, module, &batch))?;
            Ok::<_, BoxError>(StepResults::new(engine.value(&mean)?, checked(weight)?, output))
        })?;
        state.log(EVAL_LOSS, results.loss, results.weight);
        self.task.on_eval_step_end(state, &batch, results)
    }

    fn on_eval_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.eval_is_of_fit = state.eval_is_due();
        self.set_precision()?;
        self.task.on_eval_start(state)
    }

    fn on_eval_epoch_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.task.on_eval_epoch_start(state)
    }

    fn on_eval_epoch_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.task.on_eval_epoch_end(state)?;
        let plateau = self.plateau.as_mut().filter(|_| self.eval_is_of_fit);
        plateau.map_or(Ok(()), |plateau| plateau.look(Phase::Eval, state))
    }

    fn on_eval_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.task.on_eval_end(state)
    }
}

impl<E: Engine, T: PredictTask<E>> PredictUnit for AutoUnit<E, T> {
    type Batch = T::Input;
    type Output = T::Prediction;

    fn predict_step(&mut self, state: &mut State, input: T::Input) -> Result<T::Prediction, BoxError> {
        let step = Step::new(state, Mode::Predict);
        let input = input.move_to(&self.engine.device(Mode::Predict))?;
        self.view(|task, engine| {
            engine.seed(step.seed);
            engine.with_module(Mode::Predict, |module| task.predict(&step, module, input))
        })
    }

    fn on_predict_start(&mut self, _state: &mut State) -> Result<(), BoxError> {
        self.set_precision()
    }
}

impl<E: Engine, T: Task<E>> LearningRates for AutoUnit<E, T> {
    fn learning_rates(&self) -> Vec<(String, f64)> {
        let rate = |group: &String| (group.clone(), rate(&self.settings, &self.plateau, group, self.count));
        self.engine.groups().iter().map(rate).collect()
    }
}

/// Thaws what `engine` was told to freeze.
fn thaw<E: Engine>(engine: &mut E, frozen: &mut Vec<bool>) -> Result<(), BoxError> {
    if frozen.contains(&true) {
        engine.freeze(&vec![false; frozen.len()])?;
    }
    frozen.clear();
    Ok(())
}

/// A weight that can be a weight.
fn checked(weight: f64) -> Result<f64, BoxError> {
    match weight.is_finite() && 0.0 <= weight {
        true => Ok(weight),
        false => {
            Err(format!("the weight of a loss must be a finite number of at least 0, not {weight}").into())
        }
    }
}

impl<E: Engine, T: Task<E>> fmt::Debug for AutoUnit<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AutoUnit")
            .field("accumulate", &self.settings.accumulate)
            .field("clip_norm", &self.settings.clip_norm)
            .field("clip_value", &self.settings.clip_value)
            .field("non_finite", &self.settings.non_finite)
            .field("precision", &self.settings.precision)
            .field("averaging", &self.average.as_ref().map(|average| average.averaging))
            .field("plateau", &self.plateau)
            .field("window", &self.window)
            .field("skipped", &self.skipped)
            .finish_non_exhaustive()
    }
}
