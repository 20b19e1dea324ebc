//! Training with closures: [`Runner`], a model with its optimizer, loss, metrics and callbacks in one value.
//!
//! ```
//! use regimen::data::{Loader, Samples};
//! use regimen::runner::Runner;
//! use regimen::{BoxError, Fit};
//! use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars};
//!
//! # fn main() -> Result<(), BoxError> {
//! # let mut vars = ToyVars::new();
//! # let net = ToyMlp::plain(&mut vars, [1, 8, 1]);
//! # let engine = ToyEngine::new(vars, net, ToyOptimizer::adam_w(0.0));
//! # let points: Vec<f64> = (-20..20).map(|x| f64::from(x) / 10.0).collect();
//! # let column = |xs: &[f64]| ToyArray::new(&[xs.len(), 1], xs);
//! # let batch = move |xs: Vec<f64>| {
//! #     let ys: Vec<f64> = xs.iter().map(|x| x.sin()).collect();
//! #     Ok((column(&xs), column(&ys)))
//! # };
//! # let (train, valid) = (points.clone(), points);
//! # let train = Loader::collate(train, batch).batch_size(8).shuffle();
//! # let valid = Loader::collate(valid, batch).batch_size(8);
//! let mut runner = Runner::new(
//!     engine,
//!     |net, x: &ToyArray| net.forward(x),
//!     |output, y: &ToyArray| output.mean_squared_error(y),
//! )
//! .metric("bias", |output, y| output.sub(y).mean())
//! .learning_rate(0.01);
//! println!("{}", runner.fit(&train, &valid, Fit::epochs(5))?);
//! # Ok(())
//! # }
//! ```
//!
//! The loop is that of [`Run`], the optimization step that of [`AutoUnit`]. So checkpoints, exact resume, pauses
//! and every callback are those of any other run.

mod epoch_metric;
mod supervised;
mod terms;
mod values;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::auto_unit::Task;
use crate::callback::{Outcome, Trigger};
use crate::data::{Data, Rank, one_epoch};
use crate::engine::{Engine, Precision};
use crate::metric::{ConfusionMatrix, Measure};
use crate::peers::Peers;
use crate::run::{Evaluate, Predict, PredictionSink, Report, Restored, Saver, Train, Which};
use crate::saved::AppState;
use crate::schedule::Schedule;
use crate::state::{HyperParameters, PauseHandle};
use crate::unit::{EvalUnit, PredictUnit, TrainUnit};
use crate::{AutoUnit, BoxError, Callback, Error, Fit, Run, State, Step};

pub use self::supervised::Supervised;
pub use self::terms::{Terms, term};
pub use self::values::{AnyLoss, Device, Host, IntoLoss, IntoValue};

/// The unit of [`Runner::new`].
pub type SupervisedUnit<E, X, Y, O> = AutoUnit<E, Supervised<E, X, Y, O>>;

/// A unit with its run, in one value: made of closures by [`new`](Runner::new), or of any unit by
/// [`of`](Runner::of).
///
/// Its calls may follow each other, in any order; each continues at the current position of the run. Limits are
/// totals since the beginning: `fit` up to 3 epochs and then up to 5 makes 5.
///
/// The hooks of a run, by the names that Keras and its relatives give them:
///
/// | hook | here |
/// |---|---|
/// | begin, end | [`Event::TrainStart`], [`Event::TrainEnd`] |
/// | epoch begin, epoch end | [`Event::CycleStart`], [`Event::CycleEnd`]: the end comes after the validation |
/// | loader begin, loader end | [`Event::TrainEpochStart`] and [`Event::TrainEpochEnd`], or those of `Eval` |
/// | batch begin, batch end | [`Event::TrainStepStart`] and [`Event::TrainStepEnd`], or those of `Eval` |
/// | after backward | [`AutoUnit::after_backward`], by [`map_unit`](Runner::map_unit) |
///
/// [`Event::TrainStart`]: crate::callback::Event::TrainStart
/// [`Event::TrainEnd`]: crate::callback::Event::TrainEnd
/// [`Event::CycleStart`]: crate::callback::Event::CycleStart
/// [`Event::CycleEnd`]: crate::callback::Event::CycleEnd
/// [`Event::TrainEpochStart`]: crate::callback::Event::TrainEpochStart
/// [`Event::TrainEpochEnd`]: crate::callback::Event::TrainEpochEnd
/// [`Event::TrainStepStart`]: crate::callback::Event::TrainStepStart
/// [`Event::TrainStepEnd`]: crate::callback::Event::TrainStepEnd
pub struct Runner<'a, U> {
    run: Run<'a, U>,
}

impl<E: Engine, X, Y, O> Runner<'_, SupervisedUnit<E, X, Y, O>>
where
    Supervised<E, X, Y, O>: Task<E>,
{
    /// Trains the module of `engine`. A batch is a pair of an input and a target; several of either are a tuple.
    ///
    /// `forward` computes the output of the module for an input, and `criterion` the loss of an output and a
    /// target: one number of the engine, which is the mean over the batch. The types of input and target are
    /// written in the two closures; the others follow.
    ///
    /// The weight of a batch in the mean over an epoch, and in an accumulated gradient, is its number of samples
    /// as the data counts them: a [`Loader`](crate::data::Loader) counts, and a `Vec` of batches counts 1 for each,
    /// unless [`count_samples`](crate::data::DataExt::count_samples) does. A criterion that returns a
    /// [`Loss`](crate::Loss) gives the weight itself. One that returns [`Terms`] has each of them logged.
    ///
    /// The learning rate is 1e-3; see [`AutoUnit::new`] for the other defaults.
    pub fn new<L: IntoLoss<E::Scalar>>(
        engine: E,
        mut forward: impl FnMut(&E::Module, &X) -> O + Send + 'static,
        criterion: impl FnMut(&O, &Y) -> L + Send + 'static,
    ) -> Self {
        Runner::with_step(engine, move |_, module, input| forward(module, input), criterion)
    }

    /// The same for a `forward` that is also given the step: its mode, for layers with a flag for training, and
    /// its epoch, number and seed.
    ///
    /// A setting that changes during the training is a function of the step. A run that is restored has the same. A
    /// dropout whose rate rises to 0.1 over the first 30 epochs:
    ///
    /// ```
    /// # use regimen::runner::{Runner, SupervisedUnit};
    /// # use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp};
    /// # type Unit = SupervisedUnit<ToyEngine<ToyMlp>, ToyArray, ToyArray, ToyArray>;
    /// # fn example(engine: ToyEngine<ToyMlp>) -> Runner<'static, Unit> {
    /// let rate = |epoch: u64| 0.1 * (epoch as f64 / 30.0).min(1.0);
    /// Runner::with_step(
    ///     engine,
    ///     move |step, net, x: &ToyArray| match step.is_train() {
    ///         true => net.forward(&x.dropout(rate(step.epoch))),
    ///         false => net.forward(x),
    ///     },
    ///     |output, y: &ToyArray| output.mean_squared_error(y),
    /// )
    /// # }
    /// ```
    pub fn with_step<L: IntoLoss<E::Scalar>>(
        engine: E,
        forward: impl FnMut(&Step, &E::Module, &X) -> O + Send + 'static,
        criterion: impl FnMut(&O, &Y) -> L + Send + 'static,
    ) -> Self {
        Runner::of(AutoUnit::new(engine, Supervised::new(forward, criterion)))
    }

    /// Measures every batch, of training and of evaluation. The value is logged as `train/NAME` or `eval/NAME`, a
    /// mean with the weight of the loss: `Key::mean("eval/accuracy")` is the key of the metric `accuracy`, for rules
    /// and reports.
    ///
    /// `measure` returns one number of the engine, which stays on the device until it is read, or an `f64`. For
    /// logits and classes, `accuracy(k)` of an engine's crate makes one. A name that is taken, as `loss` is, is an error
    /// of every call.
    pub fn metric<K, V: IntoValue<E::Scalar, K>>(
        self,
        name: &str,
        measure: impl FnMut(&O, &Y) -> V + Send + 'static,
    ) -> Self {
        self.with_task(|task| task.add_metric(name, measure))
    }

    /// Measures every epoch as a whole, for a metric that is not a mean over batches: `keep` returns the numbers that it
    /// needs of a batch, and `finish` is given all of the epoch, in order. The value is logged as that of a
    /// [`metric`](Runner::metric) is. Steps without a [counted weight](crate::auto_unit::StepResults::counted_weight) are not in
    /// it, and an epoch without numbers has no value. The numbers of an epoch under way are saved in checkpoints.
    ///
    /// If `keep` fails in a training step, the step is made all the same. Its epoch has no value then, with a
    /// [notice](crate::State::notices); so has one of which the first steps are from a checkpoint without this metric.
    ///
    /// Among several [ranks](Run::peers) `finish` is called on the first, with the numbers of all: those of rank 0 in the
    /// order of its steps, then those of rank 1. So the value is that of all ranks.
    ///
    /// ```
    /// # use regimen::runner::{Runner, SupervisedUnit};
    /// # use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp};
    /// # type Unit = SupervisedUnit<ToyEngine<ToyMlp>, ToyArray, ToyArray, ToyArray>;
    /// # fn example(runner: Runner<'_, Unit>) -> Runner<'_, Unit> {
    /// // The median of the errors.
    /// runner.epoch_metric(
    ///     "median error",
    ///     |output, y| Ok(output.sub(y).values().iter().map(|error| error.abs()).collect()),
    ///     |errors| {
    ///         let mut errors = errors.to_vec();
    ///         errors.sort_by(f64::total_cmp);
    ///         Ok(errors[errors.len() / 2])
    ///     },
    /// )
    /// # }
    /// ```
    pub fn epoch_metric(
        self,
        name: &str,
        keep: impl FnMut(&O, &Y) -> Result<Vec<f64>, BoxError> + Send + 'static,
        finish: impl FnMut(&[f64]) -> Result<f64, BoxError> + Send + 'static,
    ) -> Self {
        self.with_task(|task| task.add_epoch_metric(name, keep, finish))
    }

    /// Counts every epoch in a [`Measure`], and logs its value as `train/<name>` or `eval/<name>` at its end, if there is
    /// one. `count` adds a batch. The counts of an epoch under way are saved in checkpoints. Among several
    /// [ranks](Run::peers) the value is that of all. The measure is held four times, and a step costs as much as a
    /// merge.
    ///
    /// ```
    /// # use regimen::BoxError;
    /// # use regimen::runner::{Runner, SupervisedUnit};
    /// # use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp};
    /// # type Unit = SupervisedUnit<ToyEngine<ToyMlp>, ToyArray, Vec<usize>, ToyArray>;
    /// # fn example(runner: Runner<'_, Unit>) -> Result<Runner<'_, Unit>, BoxError> {
    /// use regimen::metric::{Average, ConfusionMatrix, Score};
    ///
    /// let f1 = Score::new(ConfusionMatrix::new(10)?, |matrix| matrix.f_beta(1.0, Average::Macro));
    /// # Ok(
    /// runner.measure("f1", f1, |f1, logits, y| f1.counts_mut().update_logits(&logits.values(), y))
    /// # )
    /// # }
    /// ```
    pub fn measure<M: Measure<Value = Option<f64>> + Send + 'static>(
        self,
        name: &str,
        empty: M,
        count: impl FnMut(&mut M, &O, &Y) -> Result<(), BoxError> + Send + 'static,
    ) -> Self
    where
        Y: 'static,
        O: 'static,
    {
        self.with_task(|task| task.add_measure(name, empty, count, epoch_metric::log_value))
    }

    /// Counts every epoch in a confusion matrix, which is logged as the picture `train/confusion_matrix` or
    /// `eval/confusion_matrix` at its end. `count` adds a batch. The counts of an epoch under way are saved in
    /// checkpoints. Among several [ranks](Run::peers) it has the counts of all.
    ///
    /// ```
    /// # use regimen::BoxError;
    /// # use regimen::metric::ConfusionMatrix;
    /// # use regimen::runner::{Runner, SupervisedUnit};
    /// # use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp};
    /// # type Unit = SupervisedUnit<ToyEngine<ToyMlp>, ToyArray, Vec<usize>, ToyArray>;
    /// # fn example(runner: Runner<'_, Unit>) -> Result<Runner<'_, Unit>, BoxError> {
    /// let matrix = ConfusionMatrix::named(["cat", "dog", "fox"])?;
    /// # Ok(
    /// runner.confusion_matrix(matrix, |matrix, logits, y| matrix.update_logits(&logits.values(), y))
    /// # )
    /// # }
    /// ```
    pub fn confusion_matrix(
        self,
        empty: ConfusionMatrix,
        count: impl FnMut(&mut ConfusionMatrix, &O, &Y) -> Result<(), BoxError> + Send + 'static,
    ) -> Self
    where
        Y: 'static,
        O: 'static,
    {
        self.with_task(|task| task.add_confusion_matrix(empty, count))
    }

    fn with_task(mut self, change: impl FnOnce(&mut Supervised<E, X, Y, O>)) -> Self {
        change(self.run.unit_mut().task_mut());
        self
    }
}

impl<E: Engine, T: Task<E>> Runner<'_, AutoUnit<E, T>> {
    /// The learning rate as a function of completed updates: a number, a closure, or a schedule. Default: 1e-3.
    pub fn learning_rate(self, schedule: impl Schedule + 'static) -> Self {
        self.map_unit(|unit| unit.learning_rate(schedule))
    }

    /// The momentum of the optimizer as a function of completed updates. Default: the optimizer's own.
    ///
    /// ```
    /// # use regimen::engine::Engine;
    /// # use regimen::runner::Runner;
    /// # use regimen::schedule::Phases;
    /// # use regimen::{AutoUnit, BoxError, Task};
    /// # fn example<E: Engine, T: Task<E>>(runner: Runner<'_, AutoUnit<E, T>>) -> Result<Runner<'_, AutoUnit<E, T>>, BoxError> {
    /// // One cycle in 10 epochs of 100 updates: the rate rises and falls, the momentum falls and rises.
    /// Ok(runner
    ///     .learning_rate(Phases::new(0.4, 100)?.linear(3.0, 0.1, 1.0)?.cosine(7.0, 1.0, 0.001)?)
    ///     .momentum(Phases::new(1.0, 100)?.linear(3.0, 0.95, 0.85)?.cosine(7.0, 0.85, 0.95)?))
    /// # }
    /// ```
    pub fn momentum(self, schedule: impl Schedule + 'static) -> Self {
        self.map_unit(|unit| unit.momentum(schedule))
    }

    /// Accumulates the gradients of `n` batches per update. Default: 1.
    pub fn accumulate(self, n: u64) -> Self {
        self.map_unit(|unit| unit.accumulate(n))
    }

    /// The precision in which the module computes. Default: that of the engine.
    pub fn precision(self, precision: Precision) -> Self {
        self.map_unit(|unit| unit.precision(precision))
    }

    /// Scales the gradient down to a Euclidean norm of at most `norm` over all parameters.
    pub fn clip_norm(self, norm: f64) -> Self {
        self.map_unit(|unit| unit.clip_norm(norm))
    }
}

impl<'a, U> Runner<'a, U> {
    /// Runs any unit: an [`AutoUnit`] over a task of your own, or a step written by hand.
    pub fn of(unit: U) -> Self {
        Runner { run: Run::owned(unit) }
    }

    /// Replaces the unit, for its other settings.
    ///
    /// ```
    /// # use regimen::auto_unit::{Averaging, Plateau, EVAL_LOSS};
    /// # use regimen::engine::Engine;
    /// # use regimen::runner::Runner;
    /// # use regimen::{AutoUnit, Task};
    /// # fn example<E: Engine, T: Task<E>>(runner: Runner<'_, AutoUnit<E, T>>) -> Runner<'_, AutoUnit<E, T>> {
    /// runner.map_unit(|unit| unit.average(Averaging::ema(0.999)).reduce_on_plateau(Plateau::min(EVAL_LOSS)))
    /// # }
    /// ```
    pub fn map_unit(self, change: impl FnOnce(U) -> U) -> Self {
        Runner { run: self.run.map_unit(change) }
    }

    /// Adds a callback: see [`Run::callback`].
    pub fn callback(self, callback: impl Callback<U> + 'a) -> Self {
        Runner { run: self.run.callback(callback) }
    }

    /// Adds a closure that is called at an event: see [`Run::on`].
    pub fn on<R: Outcome>(
        self,
        trigger: impl Into<Trigger>,
        call: impl FnMut(&mut State, &mut U) -> R + Send + 'a,
    ) -> Self {
        Runner { run: self.run.on(trigger, call) }
    }

    /// Sets the saver, which saves the run and restores it: see [`Run::saver`].
    pub fn saver(self, saver: impl Saver + 'a) -> Self
    where
        U: AppState,
    {
        Runner { run: self.run.saver(saver) }
    }

    /// Sets the seed of every random choice of the run. Default: 0.
    pub fn seed(self, seed: u64) -> Self {
        Runner { run: self.run.seed(seed) }
    }

    /// Sets the rank of this process among those that train together. Default: the only one.
    pub fn rank(self, rank: Rank) -> Self {
        Runner { run: self.run.rank(rank) }
    }

    /// Trains together with other processes: see [`Run::peers`].
    pub fn peers(self, peers: Arc<dyn Peers>) -> Self {
        Runner { run: self.run.peers(peers) }
    }

    /// Gives the hyper-parameters of the run to logs and checkpoints: see [`Run::hyper_parameters`].
    pub fn hyper_parameters(self, settings: HyperParameters) -> Self {
        Runner { run: self.run.hyper_parameters(settings) }
    }

    /// Trains on `train` up to the limits of `config`, and evaluates on `valid` at its cadence: see [`Run::fit`].
    pub fn fit<T, V>(&mut self, train: &T, valid: &V, config: Fit) -> Result<Report, Error>
    where
        U: TrainUnit + EvalUnit,
        T: Data<Batch = <U as TrainUnit>::Batch> + ?Sized,
        V: Data<Batch = <U as EvalUnit>::Batch> + ?Sized,
    {
        self.run.fit(train, valid, config)
    }

    /// Trains on `train` without evaluations. Unlike [`Run::train`] it has cycles, so that the end of an epoch is
    /// [`CycleEnd`](crate::callback::Event::CycleEnd) with and without a validation. A validation that a `fit` left due or
    /// half done is dropped.
    pub fn train<T>(&mut self, train: &T, config: Train) -> Result<Report, Error>
    where
        U: TrainUnit + EvalUnit,
        T: Data<Batch = <U as TrainUnit>::Batch> + ?Sized,
    {
        train_in_cycles(&mut self.run, train, config)
    }

    /// Evaluates once over `data`: see [`Run::evaluate`].
    pub fn evaluate<D>(&mut self, data: &D, config: Evaluate) -> Result<Report, Error>
    where
        U: EvalUnit,
        D: Data<Batch = U::Batch> + ?Sized,
    {
        self.run.evaluate(data, config)
    }

    /// Predicts once over `data`, and hands each output to `sink`: see [`Run::predict`]. The data of a
    /// [`Runner::new`] are inputs without targets.
    pub fn predict<D>(
        &mut self,
        data: &D,
        config: Predict,
        sink: impl FnMut(U::Output) -> Result<(), BoxError>,
    ) -> Result<Report, Error>
    where
        U: PredictUnit,
        D: Data<Batch = U::Batch> + ?Sized,
    {
        self.run.predict(data, config, sink)
    }

    /// The same into a sink with a position: see [`Run::predict_into`].
    pub fn predict_into<D>(
        &mut self,
        data: &D,
        config: Predict,
        sink: &mut (impl PredictionSink<U::Output> + ?Sized),
    ) -> Result<Report, Error>
    where
        U: PredictUnit,
        D: Data<Batch = U::Batch> + ?Sized,
    {
        self.run.predict_into(data, config, sink)
    }

    /// Restores the latest checkpoint of the saver. Returns `None` if nothing was saved yet.
    pub fn restore_latest(&mut self) -> Result<Option<Restored>, Error> {
        self.run.restore_latest()
    }

    /// Restores the best checkpoint of the saver, by the metric that it keeps the best of.
    pub fn restore_best(&mut self) -> Result<Restored, Error> {
        self.run.restore_best()
    }

    /// Restores the checkpoint at `path`.
    pub fn restore_path(&mut self, path: impl AsRef<Path>) -> Result<Restored, Error> {
        self.run.restore(Which::Path(path.as_ref()))
    }

    /// A handle that pauses the run from another thread.
    pub fn pause_handle(&self) -> PauseHandle {
        self.run.pause_handle()
    }

    /// The state of the run.
    pub fn state(&self) -> &State {
        self.run.state()
    }

    /// The unit, with engine and task.
    pub fn unit(&self) -> &U {
        self.run.unit()
    }

    /// The unit, mutably.
    pub fn unit_mut(&mut self) -> &mut U {
        self.run.unit_mut()
    }

    /// The run, for its other calls.
    pub fn run(&mut self) -> &mut Run<'a, U> {
        &mut self.run
    }
}

/// Trains without evaluations, with the events of cycles.
pub(crate) fn train_in_cycles<U, T>(run: &mut Run<'_, U>, train: &T, config: Train) -> Result<Report, Error>
where
    U: TrainUnit + EvalUnit,
    T: Data<Batch = <U as TrainUnit>::Batch> + ?Sized,
{
    run.fit(train, &one_epoch(std::iter::empty()), config.into())
}

impl<U> fmt::Debug for Runner<'_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("run", &self.run).finish()
    }
}
