//! `AutoPredictUnit`: prediction alone, for every engine.

use std::fmt;

use super::PredictTask;
use crate::engine::{Engine, Mode, Part, Precision, ToDevice};
use crate::saved::{AppState, Parts};
use crate::unit::PredictUnit;
use crate::{BoxError, State, Step};

/// Predicts with a [`PredictTask`] on an [`Engine`]: a task without a loss, which is never trained.
///
/// A step moves the input to the device, seeds the engine from (seed, phase, step, rank) and calls
/// [`PredictTask::predict`] on the evaluation view of the module, as [`AutoUnit`](crate::AutoUnit) does. An
/// engine is made with an optimizer, which is not used here: one without settings, such as SGD, will do.
///
/// Its one part is `module`. So `load_parts_from("runs/mine", &mut unit, &["module"])` of the crate `regimen`
/// loads the weights that an `AutoUnit` has saved.
///
/// ```
/// use regimen_core::auto_unit::{AutoPredictUnit, PredictTask};
/// use regimen_core::engine::Engine;
/// use regimen_core::run::{Predict, predict};
/// use regimen_core::{BoxError, Step};
/// use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars};
///
/// struct Sine;
///
/// impl PredictTask<ToyEngine<ToyMlp>> for Sine {
///     type Input = ToyArray;
///     type Prediction = Vec<f64>;
///
///     fn predict(&mut self, _: &Step, mlp: &ToyMlp, x: ToyArray) -> Result<Vec<f64>, BoxError> {
///         Ok(mlp.forward(&x).values())
///     }
/// }
/// # let mut vars = ToyVars::new();
/// # let mlp = ToyMlp::plain(&mut vars, [1, 4, 1]);
/// let engine = ToyEngine::new(vars, mlp, ToyOptimizer::sgd(0.0));
/// let mut unit = AutoPredictUnit::new(engine, Sine);
/// let batches = [ToyArray::new(&[2, 1], &[0.0, 1.0]), ToyArray::new(&[1, 1], &[2.0])];
/// predict(&mut unit, &batches, Predict::whole(), |numbers| Ok(assert!(numbers.len() <= 2)))?;
/// # Ok::<(), regimen_core::Error>(())
/// ```
pub struct AutoPredictUnit<E, T> {
    engine: E,
    task: T,
    precision: Option<Precision>,
}

impl<E: Engine, T: PredictTask<E>> AutoPredictUnit<E, T> {
    /// Predicts `task` on `engine`.
    pub fn new(engine: E, task: T) -> Self {
        AutoPredictUnit { engine, task, precision: None }
    }

    /// The type in which the module computes. An engine that does not support it is an error when the run
    /// starts. Default: the engine's present precision.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = Some(precision);
        self
    }

    /// The engine.
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// The engine, mutably.
    pub fn engine_mut(&mut self) -> &mut E {
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

    /// Engine and task, by value. The engine is set back to single precision.
    pub fn into_parts(mut self) -> (E, T) {
        if self.precision.is_some_and(|precision| precision != Precision::F32) {
            // It is never refused.
            let _ = self.engine.set_precision(Precision::F32);
        }
        (self.engine, self.task)
    }
}

impl<E: Engine, T: PredictTask<E>> PredictUnit for AutoPredictUnit<E, T> {
    type Batch = T::Input;
    type Output = T::Prediction;

    fn predict_step(&mut self, state: &mut State, input: T::Input) -> Result<T::Prediction, BoxError> {
        predicted(state, &mut self.task, &mut self.engine, input)
    }

    fn on_predict_start(&mut self, _state: &mut State) -> Result<(), BoxError> {
        self.precision.map_or(Ok(()), |precision| self.engine.set_precision(precision))
    }
}

/// The part `module`: parameters and buffers.
impl<E: Engine, T> AppState for AutoPredictUnit<E, T> {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("module", &mut self.engine.part(Part::Module))
    }
}

impl<E, T> fmt::Debug for AutoPredictUnit<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AutoPredictUnit").field("precision", &self.precision).finish_non_exhaustive()
    }
}

/// The prediction for `input` in the present step of `state`.
pub(super) fn predicted<E: Engine, T: PredictTask<E>>(
    state: &mut State,
    task: &mut T,
    engine: &mut E,
    input: T::Input,
) -> Result<T::Prediction, BoxError> {
    let step = Step::new(state, Mode::Predict);
    let input = state.time("transfer", |_| input.move_to(&engine.device(Mode::Predict)))?;
    engine.seed(step.seed);
    state.time("forward", |_| engine.with_module(Mode::Predict, |module| task.predict(&step, module, input)))
}
