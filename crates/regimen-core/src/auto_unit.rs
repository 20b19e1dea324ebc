//! `AutoUnit`: the optimization step written out once, for every engine.

mod parts;
mod settings;
mod window;

use std::fmt;

use settings::{Count, Settings};
use window::Window;

use crate::{
    BoxError, Engine, EvalUnit, Key, LearningRates, Loss, Mode, PredictTask, PredictUnit, State, Step,
    StepResults, Task, ToDevice, TrainUnit,
};

pub use settings::NonFinite;

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
/// add its gradients, times its weight, to those held
/// hook                                               AutoUnit::after_backward
/// read and log the loss; is it finite?
/// at the end of a window, or of the epoch:
///   divide the held gradients by the window's weight
///   hook                                             AutoUnit::before_update
///   clip by global norm, then by value
///   step the optimizer with the scheduled rates      counted in Progress::updates
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
    /// The rates of the update at hand, one a group; kept to allocate nothing in a step.
    rates: Vec<f64>,
    /// Updates and epochs complete, as of the last step.
    count: Count,
}

impl<E: Engine, T: Task<E>> AutoUnit<E, T> {
    /// Trains `task` on `engine` with a constant learning rate of 1e-3, no accumulation, no
    /// clipping, and an error where something is not finite.
    pub fn new(engine: E, task: T) -> Self {
        let (settings, window, count) = (Settings::default(), Window::default(), Count::default());
        AutoUnit { engine, task, settings, window, skipped: 0, rates: Vec::new(), count }
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

    /// Engine and task, by value.
    pub fn into_parts(self) -> (E, T) {
        (self.engine, self.task)
    }

    /// How many updates were skipped because something was not finite.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Ends the window: makes its update, or skips it.
    fn update<O>(&mut self, state: &mut State, results: &mut StepResults<O>) -> Result<(), BoxError> {
        let AutoUnit { engine, settings, window, .. } = self;
        if window.is_spoilt() {
            return self.skip(results);
        }
        if let Some(factor) = window.factor(settings.accumulate) {
            engine.scale_gradients(factor)?;
        }
        if let Some(hook) = &mut settings.before_update {
            hook(engine, state)?;
        }
        if let Some(limit) = settings.clip_norm {
            let norm = engine.gradient_norm()?;
            results.gradient_norm = Some(norm);
            if !norm.is_finite() && settings.non_finite == NonFinite::Error {
                return Err(format!("the gradient is not finite: its norm is {norm}").into());
            }
            if limit < norm && norm.is_finite() {
                engine.scale_gradients(limit / norm)?;
            }
        }
        if settings.non_finite == NonFinite::Skip {
            let finite = match results.gradient_norm {
                Some(norm) => norm.is_finite(),
                None => engine.gradients_are_finite()?,
            };
            if !finite {
                return self.skip(results);
            }
        }
        if let Some(limit) = settings.clip_value {
            engine.clip_gradient_values(limit)?;
        }
        self.set_rates();
        self.engine.step(&self.rates)?;
        self.window = Window::default();
        self.count.updates += 1;
        state.count_update();
        results.updated = true;
        Ok(())
    }

    fn skip<O>(&mut self, results: &mut StepResults<O>) -> Result<(), BoxError> {
        self.discard();
        self.skipped += 1;
        results.skipped = true;
        Ok(())
    }

    fn discard(&mut self) {
        self.engine.discard_gradients();
        self.window = Window::default();
    }

    fn set_rates(&mut self) {
        let AutoUnit { engine, settings, count, rates, .. } = self;
        rates.clear();
        rates.extend(engine.groups().iter().map(|name| settings.rate_of(name).at(*count)));
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
        let AutoUnit { engine, task, settings, window, .. } = self;
        let batch = batch.to_device(&engine.device(Mode::Train))?;
        engine.seed(step.seed);
        let (loss, output) =
            engine.with_module(Mode::Train, |module| task.compute_loss(&step, module, &batch))?;
        let weight = checked(loss.weight)?;

        window.begin();
        engine.backward(&loss.mean, window.backward_factor(settings.accumulate, weight))?;
        window.add(weight);
        if let Some(hook) = &mut settings.after_backward {
            hook(engine, state)?;
        }
        let value = engine.value(&loss.mean)?;
        if !value.is_finite() {
            match settings.non_finite {
                NonFinite::Error => return Err(format!("the loss is not finite: {value}").into()),
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
        self.count = Count { updates: state.train().updates, epochs: state.train().epochs };
        self.task.on_train_start(state)
    }

    fn on_train_epoch_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.count.epochs = state.train().epochs;
        self.task.on_train_epoch_start(state)
    }

    fn on_train_epoch_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.task.on_train_epoch_end(state)
    }

    fn on_train_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.task.on_train_end(state)
    }
}

impl<E: Engine, T: Task<E>> EvalUnit for AutoUnit<E, T> {
    type Batch = T::Batch;

    fn eval_step(&mut self, state: &mut State, batch: T::Batch) -> Result<(), BoxError> {
        let step = Step::new(state, Mode::Eval);
        let AutoUnit { engine, task, .. } = self;
        let batch = batch.to_device(&engine.device(Mode::Eval))?;
        engine.seed(step.seed);
        let (Loss { mean, weight }, output) =
            engine.with_module(Mode::Eval, |module| task.compute_loss(&step, module, &batch))?;
        let (value, weight) = (engine.value(&mean)?, checked(weight)?);
        state.log(EVAL_LOSS, value, weight);
        task.on_eval_step_end(state, &batch, StepResults::new(value, weight, output))
    }

    fn on_eval_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.task.on_eval_start(state)
    }

    fn on_eval_epoch_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.task.on_eval_epoch_start(state)
    }

    fn on_eval_epoch_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.task.on_eval_epoch_end(state)
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
        let AutoUnit { engine, task, .. } = self;
        let input = input.to_device(&engine.device(Mode::Predict))?;
        engine.seed(step.seed);
        engine.with_module(Mode::Predict, |module| task.predict(&step, module, input))
    }
}

impl<E: Engine, T: Task<E>> LearningRates for AutoUnit<E, T> {
    fn learning_rates(&self) -> Vec<(String, f64)> {
        let rate = |group: &String| (group.clone(), self.settings.rate_of(group).at(self.count));
        self.engine.groups().iter().map(rate).collect()
    }
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
            .field("window", &self.window)
            .field("skipped", &self.skipped)
            .finish_non_exhaustive()
    }
}
