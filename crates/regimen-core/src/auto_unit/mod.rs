//! `AutoUnit`: the optimization step written out once, for every engine.

mod anomaly;
mod averaging;
mod eval_precision;
mod few;
mod parts;
mod pending;
mod plateau;
mod predict;
mod replicas;
mod scaler;
mod settings;
mod share;
mod task;
mod train;
mod update;
mod window;

use std::fmt;

use averaging::{Average, with_weights};
use pending::Pending;
use predict::predicted;
use settings::{Count, Scheduled, Settings};
use share::Held;
use task::Values;
use update::rate;
use window::Window;

use crate::engine::{Engine, Mode, Part, Precision, ToDevice, Value};
use crate::error::WithCauses;
use crate::metric::Key;
use crate::saved::StateDict;
use crate::schedule::LearningRates;
use crate::state::{EntryPoint, Phase};
use crate::unit::{EvalUnit, PredictUnit};
use crate::{BoxError, State};

pub use averaging::Averaging;
pub use plateau::Plateau;
pub use predict::AutoPredictUnit;
pub use scaler::GradientScaler;
pub use settings::{NonFinite, Thaw, Unreached};
pub use task::{Loss, PredictTask, Step, StepResults, Task};

/// The loss of training, logged by [`AutoUnit`] at every step with the weight of its batch.
pub const TRAIN_LOSS: Key = Key::mean("train/loss");

/// Updates skipped in an epoch because a loss or gradient was not finite. Logged only if there are any.
pub const TRAIN_SKIPPED: Key = Key::sum("train/skipped");

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
/// is it finite?                                      see NonFinite
/// add its gradients, times its weight, to those held     in fp16 also times the scale
/// hook                                               AutoUnit::after_backward
/// at the end of a window, or of the epoch:
///   divide the held gradients by the window's weight
///   hook                                             AutoUnit::before_update
///   clip by global norm, then by value, or each unit by the norm of its weights
///   step the optimizer with the scheduled rates, and momentum
///                                                    counted in Progress::updates
///   with a sharded optimizer, get the other parameters from their owners
///   add the weights to their average
/// log the loss
/// hook                                               Task::on_train_step_end
/// ```
///
/// On a device that computes asynchronously, a step does not wait for it. Losses and the norms of
/// [`clip_norm`](AutoUnit::clip_norm) stay there. They are read together when a callback reads a metric or a
/// hook [`StepResults::loss`], when an epoch, a call or a save needs them, and when 64 of them wait. The
/// logged and saved values do not depend on when they are read. [`NonFinite`] lists the settings that read in
/// each step.
///
/// A window is [`accumulate`](AutoUnit::accumulate) steps, or fewer at the end of an epoch. A limit or a stop
/// does not end it: a checkpoint includes the held gradients, and the report of the call counts the waiting
/// steps. They belong to this run alone: another run drops them with a notice.
///
/// A batch of weight zero counts for nothing: its loss is not checked and has no gradient. A window of weight
/// zero makes no update.
///
/// With [peers](crate::Run::peers) the gradient of an update is that of the mean over the window on all ranks, also if
/// their shares of a batch differ in size. Running statistics are the mean over the ranks, weighted in the same way.
/// A fresh run begins with the weights of rank 0. A window with a loss that is not finite on one rank is skipped on
/// all. Dropout and everything else that a step draws differ between ranks. The optimizer can be
/// [sharded](AutoUnit::shard_optimizer), and so can the [gradients](AutoUnit::shard_gradients).
///
/// A step is atomic. If it fails or panics before its update, weights, running statistics and window stay as
/// they were, and the next call repeats it. If it fails after its update, or in `on_train_step_end`, it is
/// counted. The earlier gradients of the window are lost only if the backward pass itself fails, if a
/// gradient that is not finite is an error, if the step fails once gradients are sharded, or if the repeated step has
/// another loss. The last two cases are a notice.
pub struct AutoUnit<E: Engine, T: Task<E>> {
    engine: E,
    task: T,
    settings: Settings<E>,
    window: Window,
    /// The optimizer state in the engine.
    held: Held,
    /// Losses and norms that may still be on the device.
    pending: Pending<E::Scalar>,
    /// Updates skipped because a loss or gradient was not finite: in all, and in a row.
    skipped: u64,
    skipped_in_a_row: u64,
    /// Used if [`Settings::is_scaling`].
    scaler: GradientScaler,
    average: Option<Average<E::Weights>>,
    plateau: Option<Plateau>,
    /// A training step is under way: its forward pass has changed buffers.
    step_is_open: bool,
    /// Whether the check for parameters without a gradient is done.
    has_asked_unreached: bool,
    /// The scheduled numbers of the newest update.
    used: Option<Scheduled>,
    /// Settings that differ from a checkpoint's, to be reported when training starts.
    changes: Vec<String>,
    /// The groups that the engine has frozen; empty before the first call of `freeze`.
    frozen: Vec<bool>,
    /// The rates of the present update, one per group; kept to allocate nothing in a step.
    rates: Vec<f64>,
    /// Completed updates and epochs: saved, and set anew when training starts.
    count: Count,
    /// How often the run had been rewound when training started last. `None` before that, and after a load.
    rewinds: Option<u64>,
}

impl<E: Engine, T: Task<E>> AutoUnit<E, T> {
    /// Trains `task` on `engine` with a constant learning rate of 1e-3, no accumulation, no clipping and
    /// [`NonFinite::Error`].
    pub fn new(engine: E, task: T) -> Self {
        AutoUnit {
            engine,
            task,
            settings: Settings::default(),
            window: Window::default(),
            held: Held::Whole,
            pending: Pending::new(E::read),
            skipped: 0,
            skipped_in_a_row: 0,
            scaler: GradientScaler::new(),
            average: None,
            plateau: None,
            step_is_open: false,
            has_asked_unreached: false,
            used: None,
            changes: Vec::new(),
            frozen: Vec::new(),
            rates: Vec::new(),
            count: Count::default(),
            rewinds: None,
        }
    }

    /// The engine.
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// The engine, mutably.
    pub fn engine_mut(&mut self) -> &mut E {
        // An engine that cannot put its buffers back says so in the next step.
        let _ = self.close_step();
        &mut self.engine
    }

    /// The task.
    pub fn task(&self) -> &T {
        &self.task
    }

    /// The task, mutably.
    pub fn task_mut(&mut self) -> &mut T {
        &mut self.task
    }

    /// Engine and task, by value. The engine is set back to single precision, and all its groups are thawed.
    pub fn into_parts(mut self) -> (E, T) {
        // Neither is ever refused.
        if self.settings.precision.is_some_and(|precision| precision != Precision::F32) {
            let _ = self.engine.set_precision(Precision::F32);
        }
        let _ = thaw(&mut self.engine, &mut self.frozen);
        let _ = self.close_step();
        (self.engine, self.task)
    }

    /// Number of updates skipped because a loss or gradient was not finite.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The factor of losses, if they are scaled.
    pub fn gradient_scale(&self) -> Option<f64> {
        self.settings.is_scaling().then(|| self.scaler.scale())
    }

    /// Number of updates (or epochs) in the [average](AutoUnit::average) of the weights.
    pub fn averaged(&self) -> u64 {
        self.average.as_ref().map_or(0, |average| average.taken)
    }

    /// Runs `f` on the engine with the averaged weights instead of the trained ones. The trained weights are
    /// back when `f` returns or panics. Without an average, `f` sees the trained weights.
    ///
    /// ```
    /// # use regimen_core::{AutoUnit, BoxError, Task};
    /// # use regimen_core::engine::{Engine, Part};
    /// # use regimen_core::saved::StateDict;
    /// # fn export<E: Engine, T: Task<E>>(mut unit: AutoUnit<E, T>) -> Result<StateDict, BoxError> {
    /// let averaged = unit.with_averaged_weights(|engine| engine.state(Part::Module))?;
    /// # Ok(averaged)
    /// # }
    /// ```
    pub fn with_averaged_weights<R>(&mut self, f: impl FnOnce(&mut E) -> R) -> R {
        let _ = self.close_step();
        let weights = self.average.as_mut().and_then(|average| average.weights.as_mut());
        with_weights(&mut self.engine, weights, f)
    }

    /// A copy of the weights that evaluation uses: the averaged ones, if there are any and
    /// [`evaluate_raw`](Averaging::evaluate_raw) is not set, or else the trained ones.
    pub fn evaluated_weights(&mut self) -> Result<StateDict, BoxError> {
        self.close_step()?;
        let AutoUnit { engine, average, .. } = self;
        with_weights(engine, average.as_mut().and_then(Average::evaluated), |engine| {
            engine.state(Part::Module)
        })
    }

    /// Puts `weights`, a state of [`Part::Module`], into the module. An [average](AutoUnit::average) that has begun
    /// begins anew with them as its first, so that evaluation uses them too. Optimizer and progress stay. It is an
    /// error if the weights do not fit the module.
    pub fn load_weights(&mut self, weights: &StateDict) -> Result<(), BoxError> {
        self.close_step()?;
        self.engine.load_state(Part::Module, weights)?;
        if let Some(average) = self.average.as_mut().filter(|average| average.weights.is_some()) {
            (average.weights, average.taken) = (Some(self.engine.weights()?), 1);
        }
        Ok(())
    }

    /// Runs `f` on task and engine for evaluation: with the averaged weights, if there are any and the
    /// settings want them, and in its precision.
    fn view<R>(&mut self, f: impl FnOnce(&mut T, &mut E) -> Result<R, BoxError>) -> Result<R, BoxError> {
        let AutoUnit { engine, task, settings, average, .. } = self;
        with_weights(engine, average.as_mut().and_then(Average::evaluated), |engine| {
            settings.in_eval_precision(engine, |engine| f(task, engine))?
        })
    }

    /// Undoes the changes of a failed training step in the buffers.
    fn close_step(&mut self) -> Result<(), BoxError> {
        if self.step_is_open {
            self.engine.restore_buffers(None)?;
            self.step_is_open = false;
        }
        Ok(())
    }

    /// Shares the metrics of an epoch of `phase` that ends, and has the plateau look at them. `hook` is the result
    /// of the task.
    fn end_epoch(
        &mut self,
        phase: Phase,
        hook: Result<(), BoxError>,
        state: &mut State,
    ) -> Result<(), BoxError> {
        let shared = hook.and_then(|()| state.share_metrics());
        if state.awaits_metrics_of_ranks() {
            // The epoch ends again, and a plateau looks once.
            return shared;
        }
        shared.and(self.look_at_plateau(phase, state))
    }

    /// Has the plateau look at an epoch of `phase` that ends. A loss that cannot be read is an error here: in
    /// the metrics it would be NaN.
    fn look_at_plateau(&mut self, phase: Phase, state: &mut State) -> Result<(), BoxError> {
        self.pending.read()?;
        let rates = if self.plateau.is_some() { self.learning_rates() } else { Vec::new() };
        let Some(plateau) = &mut self.plateau else { return Ok(()) };
        plateau.look(phase, state)?;
        let key = plateau.key().clone();
        let reduced = self.learning_rates().into_iter().zip(rates).filter(|(new, old)| new != old);
        let reduced: Vec<_> =
            reduced.map(|((group, new), (_, old))| format!("{old} to {new} for `{group}`")).collect();
        if !reduced.is_empty() {
            state.notify(format!("plateau of `{key}`: the learning rate falls from {}", reduced.join(", ")));
        }
        Ok(())
    }

    fn set_precision(&mut self) -> Result<(), BoxError> {
        let AutoUnit { engine, settings, .. } = self;
        match settings.precision {
            Some(precision) => engine.set_precision(precision)?,
            None if settings.eval_precision.is_some() => {
                return Err(
                    "`eval_precision`: give the `precision` of training too, to which it returns".into()
                );
            }
            None => {}
        }
        // One that is not supported is refused before the first step.
        settings.in_eval_precision(engine, |_| ())
    }

    /// Freezes and thaws groups that are due.
    fn freeze_due(&mut self) -> Result<(), BoxError> {
        let AutoUnit { engine, settings, frozen, count, .. } = self;
        if settings.frozen.is_empty() {
            return thaw(engine, frozen);
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

impl<E: Engine, T: Task<E>> EvalUnit for AutoUnit<E, T> {
    type Batch = T::Batch;

    fn eval_step(&mut self, state: &mut State, batch: T::Batch) -> Result<(), BoxError> {
        let step = Step::new(state, Mode::Eval);
        self.read_if_full()?;
        let (batch, loss, values, weight, output) = self.view(|task, engine| {
            let batch = state.time("transfer", |_| batch.move_to(&engine.device(Mode::Eval)))?;
            engine.seed(step.seed);
            let compute = |module: &_| task.compute_loss(&step, module, &batch);
            let computed = state.time("forward", |_| engine.with_module(Mode::Eval, compute));
            let (Loss { mean, weight, values }, output) = computed?;
            let values = detached_values(engine, values)?;
            Ok((batch, engine.detach(&mean)?, values, checked(weight)?, output))
        })?;
        let (loss, values) = (self.pending.add(loss), self.pending.add_all(values));
        let mut results = StepResults::new(loss, values, weight, output);
        results.log(EVAL_LOSS, true, state);
        state.time("on_eval_step_end", |state| self.task.on_eval_step_end(state, &batch, results))
    }

    fn on_eval_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.close_step()?;
        if state.entry_point() == EntryPoint::Evaluate {
            self.unite(state)?;
        }
        self.set_precision()?;
        self.task.on_eval_start(state)
    }

    fn on_eval_epoch_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.task.on_eval_epoch_start(state)
    }

    fn on_eval_epoch_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        // The evaluation is counted even if the task's hook fails.
        let hook = self.task.on_eval_epoch_end(state);
        self.end_epoch(Phase::Eval, hook, state)
    }

    fn on_eval_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.task.on_eval_end(state)
    }
}

impl<E: Engine, T: Task<E> + PredictTask<E>> PredictUnit for AutoUnit<E, T> {
    type Batch = T::Input;
    type Output = T::Prediction;

    fn predict_step(&mut self, state: &mut State, input: T::Input) -> Result<T::Prediction, BoxError> {
        self.view(|task, engine| predicted(state, task, engine, input))
    }

    fn on_predict_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.close_step()?;
        self.unite(state)?;
        self.set_precision()
    }
}

impl<E: Engine, T: Task<E>> LearningRates for AutoUnit<E, T> {
    fn learning_rates(&self) -> Vec<(String, f64)> {
        let rate = |group: &String| (group.clone(), rate(&self.settings, &self.plateau, group, self.count));
        self.engine.groups().iter().map(rate).collect()
    }

    fn scheduled_momentum(&self) -> Option<f64> {
        self.settings.momentum_at(self.count)
    }
}

/// Thaws all frozen groups of `engine`.
fn thaw<E: Engine>(engine: &mut E, frozen: &mut Vec<bool>) -> Result<(), BoxError> {
    if frozen.contains(&true) {
        engine.freeze(&vec![false; frozen.len()])?;
    }
    frozen.clear();
    Ok(())
}

/// The values beside a loss, without their graph.
fn detached_values<E: Engine>(engine: &E, values: Values<E::Scalar>) -> Result<Values<E::Scalar>, BoxError> {
    let detached = |(key, value): (Key, Value<E::Scalar>)| match value {
        Value::Host(_) => Ok((key, value)),
        Value::Device(scalar) => {
            let value = engine.detach(&scalar);
            let value = value.map_err(|cause| format!("`{key}`: {}", WithCauses(&*cause)))?;
            Ok((key, value))
        }
    };
    values.into_iter().map(detached).collect()
}

/// Checks a weight: products and quotients of two weights must be finite in single precision.
fn checked(weight: f64) -> Result<f64, BoxError> {
    match weight == 0.0 || (1e-15..=1e15).contains(&weight) {
        true => Ok(weight),
        false => {
            Err(format!("the weight of a loss must be 0, or from 1e-15 to 1e15, and not {weight}").into())
        }
    }
}

impl<E: Engine, T: Task<E>> fmt::Debug for AutoUnit<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AutoUnit")
            .field("accumulate", &self.settings.accumulate)
            .field("clip_norm", &self.settings.clip_norm)
            .field("clip_value", &self.settings.clip_value)
            .field("clip_adaptive", &self.settings.clip_adaptive)
            .field("non_finite", &self.settings.non_finite)
            .field("precision", &self.settings.precision)
            .field("averaging", &self.average.as_ref().map(|average| average.averaging))
            .field("plateau", &self.plateau)
            .field("window", &self.window)
            .field("skipped", &self.skipped)
            .finish_non_exhaustive()
    }
}
