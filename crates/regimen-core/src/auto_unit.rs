//! `AutoUnit`: the optimization step written out once, for every engine.

use std::fmt;

use crate::window::Window;
use crate::{
    AppState, BoxError, Engine, EvalUnit, Key, LearningRates, Loss, Mode, Parts, PredictTask, PredictUnit,
    Schedule, State, StateDict, Stateful, Step, StepResults, Task, ToDevice, TrainUnit,
};

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

/// What to do when a loss or a gradient is not finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// The step is an error, and the window's gradients are discarded. The loss is looked at, and
    /// the norm where clipping takes one; a gradient alone that is not finite is met in the next
    /// step's loss. The default.
    #[default]
    Error,
    /// The window's update is skipped: parameters, optimizer and schedule stay as they are, and it
    /// is counted in [`AutoUnit::skipped`]. Loss and gradients are looked at.
    Skip,
    /// Nothing is looked at.
    Ignore,
}

/// What a schedule counts.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    updates: u64,
    epochs: u64,
}

/// A hook on the held gradients.
type GradientHook<E> = Box<dyn FnMut(&mut E, &mut State) -> Result<(), BoxError> + Send>;

struct Settings<E: Engine> {
    rate: Rate,
    group_rates: Vec<(String, Rate)>,
    accumulate: u64,
    clip_norm: Option<f64>,
    clip_value: Option<f64>,
    non_finite: NonFinite,
    after_backward: Option<GradientHook<E>>,
    before_update: Option<GradientHook<E>>,
}

enum Rate {
    ByUpdate(Box<dyn Schedule>),
    ByEpoch(Box<dyn Schedule>),
}

impl Rate {
    fn at(&self, count: Count) -> f64 {
        match self {
            Rate::ByUpdate(schedule) => schedule.rate(count.updates),
            Rate::ByEpoch(schedule) => schedule.rate(count.epochs),
        }
    }
}

impl<E: Engine, T: Task<E>> AutoUnit<E, T> {
    /// Trains `task` on `engine` with a constant learning rate of 1e-3, no accumulation, no
    /// clipping, and an error where something is not finite.
    pub fn new(engine: E, task: T) -> Self {
        let settings = Settings {
            rate: Rate::ByUpdate(Box::new(1e-3)),
            group_rates: Vec::new(),
            accumulate: 1,
            clip_norm: None,
            clip_value: None,
            non_finite: NonFinite::Error,
            after_backward: None,
            before_update: None,
        };
        let (window, count) = (Window::default(), Count::default());
        AutoUnit { engine, task, settings, window, skipped: 0, rates: Vec::new(), count }
    }

    /// The learning rate as a function of completed updates: a number, a closure, or a schedule.
    pub fn learning_rate(mut self, schedule: impl Schedule + 'static) -> Self {
        self.settings.rate = Rate::ByUpdate(Box::new(schedule));
        self
    }

    /// The learning rate as a function of completed epochs.
    pub fn learning_rate_by_epoch(mut self, schedule: impl Schedule + 'static) -> Self {
        self.settings.rate = Rate::ByEpoch(Box::new(schedule));
        self
    }

    /// The learning rate of one of the engine's parameter groups, by completed updates, in place
    /// of the common one. A group that the engine does not have is an error when training starts.
    pub fn group_learning_rate(
        mut self,
        group: impl Into<String>,
        schedule: impl Schedule + 'static,
    ) -> Self {
        self.settings.group_rates.push((group.into(), Rate::ByUpdate(Box::new(schedule))));
        self
    }

    /// Makes one update of `n` steps: the gradient is that of the mean over all their samples or
    /// tokens. 1 by default; 0 is an error when training starts.
    pub fn accumulate(mut self, n: u64) -> Self {
        self.settings.accumulate = n;
        self
    }

    /// Scales the gradient down to a Euclidean norm of at most `norm` over all parameters. Not
    /// positive, or not a number, is an error when training starts.
    pub fn clip_norm(mut self, norm: f64) -> Self {
        self.settings.clip_norm = Some(norm);
        self
    }

    /// Clamps each element of the gradient to `-limit..=limit`, after clipping by norm. Not
    /// positive, or not a number, is an error when training starts.
    pub fn clip_value(mut self, limit: f64) -> Self {
        self.settings.clip_value = Some(limit);
        self
    }

    /// What to do when a loss or a gradient is not finite. [`NonFinite::Error`] by default.
    pub fn non_finite(mut self, policy: NonFinite) -> Self {
        self.settings.non_finite = policy;
        self
    }

    /// Calls `hook` after each backward: the held gradients are the window's so far, each
    /// micro-batch times its weight.
    pub fn after_backward(
        mut self,
        hook: impl FnMut(&mut E, &mut State) -> Result<(), BoxError> + Send + 'static,
    ) -> Self {
        self.settings.after_backward = Some(Box::new(hook));
        self
    }

    /// Calls `hook` before each update: the held gradients are the mean over the window, not yet
    /// clipped. What the hook makes of them is clipped and used.
    pub fn before_update(
        mut self,
        hook: impl FnMut(&mut E, &mut State) -> Result<(), BoxError> + Send + 'static,
    ) -> Self {
        self.settings.before_update = Some(Box::new(hook));
        self
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

    /// Refuses settings that cannot be used.
    fn check(&self) -> Result<(), BoxError> {
        let Settings { accumulate, clip_norm, clip_value, group_rates, .. } = &self.settings;
        if *accumulate == 0 {
            return Err("`accumulate`: a window of 0 steps never ends; give 1 or more".into());
        }
        for (name, limit) in [("clip_norm", clip_norm), ("clip_value", clip_value)] {
            if limit.is_some_and(|limit| limit.is_nan() || limit <= 0.0) {
                return Err(format!("`{name}`: a limit must be greater than 0").into());
            }
        }
        let groups = self.engine.groups();
        match group_rates.iter().find(|(group, _)| !groups.contains(group)) {
            None => Ok(()),
            Some((group, _)) => {
                let groups = groups.join(", ");
                Err(format!("`group_learning_rate`: there is no group `{group}`; the engine has: {groups}")
                    .into())
            }
        }
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

impl<E: Engine> Settings<E> {
    fn rate_of(&self, group: &str) -> &Rate {
        self.group_rates.iter().rev().find(|(name, _)| name == group).map_or(&self.rate, |(_, rate)| rate)
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
        self.check()?;
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

/// The parts `module`, `optimizer` and `auto_unit`: the last is the accumulation window with its
/// held gradients, and the number of skipped updates. A task's own state is not among them.
impl<E: Engine, T: Task<E>> AppState for AutoUnit<E, T> {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("module", &mut ModulePart(&mut self.engine))?;
        parts.part("optimizer", &mut OptimizerPart(&mut self.engine))?;
        let AutoUnit { engine, window, skipped, .. } = self;
        parts.part("auto_unit", &mut WindowPart { engine, window, skipped })
    }
}

struct ModulePart<'e, E>(&'e mut E);

impl<E: Engine> Stateful for ModulePart<'_, E> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        self.0.module_state()
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.0.load_module(dict)
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.0.check_module(dict)
    }
}

struct OptimizerPart<'e, E>(&'e mut E);

impl<E: Engine> Stateful for OptimizerPart<'_, E> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        self.0.optimizer_state()
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.0.load_optimizer(dict)
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.0.check_optimizer(dict)
    }
}

struct WindowPart<'e, E> {
    engine: &'e mut E,
    window: &'e mut Window,
    skipped: &'e mut u64,
}

impl<E: Engine> Stateful for WindowPart<'_, E> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("skipped", *self.skipped)?;
        if self.window.is_torn() {
            dict.insert_all("window", Window::default().state_dict()?)?;
        } else {
            dict.insert_all("window", self.window.state_dict()?)?;
            dict.insert_all("gradients", self.engine.gradients()?)?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let mut window = Window::default();
        window.load_state_dict(&dict.under("window"))?;
        let skipped = dict.get("skipped")?;
        self.engine.set_gradients(&dict.under("gradients"))?;
        (*self.window, *self.skipped) = (window, skipped);
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        Window::default().load_state_dict(&dict.under("window"))?;
        dict.get::<u64>("skipped")?;
        self.engine.check_gradients(&dict.under("gradients"))
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
