//! Training by stages: [`FitLoop`], a model with its data, and closures for the steps and epochs.
//!
//! ```
//! use regimen::data::Loader;
//! use regimen::fitloop::{FitLoop, max, record};
//! use regimen::BoxError;
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
//! # let train = Loader::collate(points.clone(), batch).batch_size(8).shuffle();
//! # let [valid, test] = [(); 2].map(|()| Loader::collate(points.clone(), batch).batch_size(8));
//! let mut trainer = FitLoop::new(
//!     engine,
//!     |net, x: &ToyArray| net.forward(x),
//!     |output, y: &ToyArray| output.mean_squared_error(y),
//! )
//! .train_data(&train)
//! .valid_data(&valid)
//! .test_data(&test)
//! .step(|s| {
//!     let output = s.output();
//!     let loss = s.loss(&output)?;
//!     let near = output.sub(&s.batch().1).values().iter().filter(|error| error.abs() < 0.1).count();
//!     Ok((loss, record! { running_near: near as f64 }))
//! })
//! .epoch_end(|s| Ok(record! { loss: s.mean("loss")?, accuracy: s.sum("running_near")? / s.size() }))
//! .criteria(max("accuracy"));
//!
//! trainer.fit(4)?; // ends with the weights of the best validation
//! println!("{}", trainer.test()?);
//! trainer.plot("accuracy")?; // a chart in the terminal
//! # Ok(())
//! # }
//! ```
//!
//! The loop is that of [`Run`](crate::Run), the optimization step that of [`AutoUnit`]: a step returns
//! its loss, and gradients, updates and modes are made for it.

mod ask;
mod dry_run;
mod figure;
mod files;
mod groups;
mod history;
mod initial;
mod picture;
mod profile;
mod record;
mod series;
mod stages;
mod table;

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::auto_unit::Task;
use crate::callback::{BestWeights, Outcome, Trigger};
use crate::data::{Data, DynData, Rank};
use crate::engine::{Engine, ToDevice};
use crate::metric::{Key, Reduction};
use crate::peers::Peers;
use crate::run::{Ended, Evaluate, Report, Restored, Saver, Train};
use crate::runner::{IntoLoss, IntoValue, Runner, Supervised};
use crate::schedule::Schedule;
use crate::state::{HyperParameters, PauseHandle};
use crate::{AutoUnit, BoxError, Callback, Error, Fit, Loss, State, Step};

use self::initial::Initial;

pub use self::ask::AskToContinue;
pub use self::dry_run::{DryRun, SanityCheck};
pub use self::figure::Figure;
pub use self::groups::{Group, Rates};
pub use self::history::{History, RunHistory, RunStatus, Runs};
pub use self::profile::Profile;
pub use self::record::Record;
pub use self::stages::{Set, StageEpoch, StageStep, Stages};
pub use self::table::FitTable;
pub use crate::record;

/// The unit of a [`FitLoop`].
pub type StagesUnit<E, X, Y, O> = AutoUnit<E, Stages<E, X, Y, O>>;

/// A model with its data, and closures for its stages.
///
/// Three sets have three stages each. A batch is a pair of an input and a target.
///
/// | stage | is called | default |
/// |---|---|---|
/// | `epoch_start` | before the first step; sees the values of the epoch before | nothing |
/// | `step` | with each batch; returns its loss and a record | loss and [metrics](FitLoop::metric) |
/// | `epoch_end` | after the last step, with the values of all steps; returns a record | the means over the samples |
///
/// A record of an epoch is logged as `train/NAME` or `eval/NAME`, as every metric is. The record of a step is too, as a
/// mean with the weight of the loss.
///
/// All values are in the [history](FitLoop::history), which [`plot`](FitLoop::plot) draws. It is saved, and so are the
/// values of an epoch under way: a fit that was stopped anywhere goes on to the same bits.
///
/// Nothing is printed unless a [`FitTable`] or a [`ProgressBar`](crate::callback::ProgressBar) is added. A closure before or
/// after the loop is one that is called [`on`](FitLoop::on) `Event::TrainStart` or `Event::TrainEnd`.
pub struct FitLoop<'a, E: Engine, X, Y, O>
where
    Stages<E, X, Y, O>: Task<E>,
{
    runner: Runner<'a, StagesUnit<E, X, Y, O>>,
    data: [Option<AnyData<'a, X, Y>>; 3],
    best: Option<BestWeights>,
    loads_best: bool,
    folder: PathBuf,
    overwrites: bool,
    initial: Initial,
    configure: Option<Configure<'a, E, X, Y, O>>,
}

type Configure<'a, E, X, Y, O> =
    Box<dyn FnMut(&mut StagesUnit<E, X, Y, O>) -> Result<(), BoxError> + Send + 'a>;

type AnyData<'a, X, Y> = Box<dyn DynData<(X, Y)> + 'a>;

/// Criteria by the largest value of `name` at the end of a validation.
pub fn max(name: &str) -> BestWeights {
    BestWeights::max(Key::named(format!("eval/{name}"), Reduction::Mean))
}

/// Criteria by the smallest value of `name` at the end of a validation.
pub fn min(name: &str) -> BestWeights {
    BestWeights::min(Key::named(format!("eval/{name}"), Reduction::Mean))
}

impl<'a, E: Engine, X, Y, O> FitLoop<'a, E, X, Y, O>
where
    X: ToDevice<E::Device>,
    Y: ToDevice<E::Device>,
{
    /// Trains the module of `engine`, with the forward pass and the criterion of [`Runner::new`].
    pub fn new<L: IntoLoss<E::Scalar>>(
        engine: E,
        mut forward: impl FnMut(&E::Module, &X) -> O + Send + 'static,
        criterion: impl FnMut(&O, &Y) -> L + Send + 'static,
    ) -> Self {
        FitLoop::with_step(engine, move |_, net, input| forward(net, input), criterion)
    }

    /// The same for a `forward` that is also given the step.
    pub fn with_step<L: IntoLoss<E::Scalar>>(
        engine: E,
        forward: impl FnMut(&Step, &E::Module, &X) -> O + Send + 'static,
        criterion: impl FnMut(&O, &Y) -> L + Send + 'static,
    ) -> Self {
        let unit = AutoUnit::new(engine, Stages::new(Supervised::new(forward, criterion)));
        FitLoop {
            runner: Runner::of(unit),
            data: [None, None, None],
            best: None,
            loads_best: true,
            folder: "fitloop_state".into(),
            overwrites: false,
            initial: Initial::Unwanted,
            configure: None,
        }
    }

    /// Measures every batch of the default step: see [`Runner::metric`].
    pub fn metric<K, V: IntoValue<E::Scalar, K>>(
        self,
        name: &str,
        measure: impl FnMut(&O, &Y) -> V + Send + 'static,
    ) -> Self {
        self.with_stages(|stages| stages.own.add_metric(name, measure))
    }

    /// The data to train on.
    pub fn train_data(self, data: impl Data<Batch = (X, Y)> + 'a) -> Self {
        self.with_data(Set::Train, data)
    }

    /// The data to validate on after every epoch. Without it there is no validation.
    pub fn valid_data(self, data: impl Data<Batch = (X, Y)> + 'a) -> Self {
        self.with_data(Set::Valid, data)
    }

    /// The data of [`test`](FitLoop::test).
    pub fn test_data(self, data: impl Data<Batch = (X, Y)> + 'a) -> Self {
        self.with_data(Set::Test, data)
    }

    fn with_data(mut self, set: Set, data: impl Data<Batch = (X, Y)> + 'a) -> Self {
        self.runner.unit_mut().task_mut().sizes[set as usize] = data.samples();
        self.data[set as usize] = Some(Box::new(data));
        self
    }

    /// The step of all sets: given a batch, it returns its loss and a [`record!`](crate::record). The loss is
    /// [that of the loop](StageStep::loss), or a [`Loss`] of your own. Replaces the default step, with its metrics.
    pub fn step(
        self,
        step: impl FnMut(&mut StageStep<'_, E, X, Y, O>) -> Result<(Loss<E::Scalar>, Record<E::Scalar>), BoxError>
        + Send
        + 'static,
    ) -> Self {
        self.with_stages(|stages| stages.steps.set(&Set::ALL, Box::new(step)))
    }

    /// The step of one set.
    pub fn step_on(
        self,
        set: Set,
        step: impl FnMut(&mut StageStep<'_, E, X, Y, O>) -> Result<(Loss<E::Scalar>, Record<E::Scalar>), BoxError>
        + Send
        + 'static,
    ) -> Self {
        self.with_stages(|stages| stages.steps.set(&[set], Box::new(step)))
    }

    /// The start of every epoch of all sets.
    pub fn epoch_start(
        self,
        start: impl FnMut(&StageEpoch<'_>) -> Result<Record, BoxError> + Send + 'static,
    ) -> Self {
        self.with_stages(|stages| stages.starts.set(&Set::ALL, Box::new(start)))
    }

    /// The start of every epoch of one set.
    pub fn epoch_start_on(
        self,
        set: Set,
        start: impl FnMut(&StageEpoch<'_>) -> Result<Record, BoxError> + Send + 'static,
    ) -> Self {
        self.with_stages(|stages| stages.starts.set(&[set], Box::new(start)))
    }

    /// The end of every epoch of all sets. A `loss` in its record is the logged one, `s.mean("loss")?`; another value under
    /// that name is an error.
    pub fn epoch_end(
        self,
        end: impl FnMut(&StageEpoch<'_>) -> Result<Record, BoxError> + Send + 'static,
    ) -> Self {
        self.with_stages(|stages| stages.ends.set(&Set::ALL, Box::new(end)))
    }

    /// The end of every epoch of one set.
    pub fn epoch_end_on(
        self,
        set: Set,
        end: impl FnMut(&StageEpoch<'_>) -> Result<Record, BoxError> + Send + 'static,
    ) -> Self {
        self.with_stages(|stages| stages.ends.set(&[set], Box::new(end)))
    }

    /// Keeps the weights of the best validation, by [`max`] or [`min`] of a value at its end. Of equal values the
    /// latest counts.
    pub fn criteria(mut self, best: BestWeights) -> Self {
        self.runner = self.runner.callback(best.clone());
        self.best = Some(best);
        self
    }

    /// Whether [`fit`](FitLoop::fit) ends with the weights of the best validation. Default: yes.
    pub fn load_best(self, loads_best: bool) -> Self {
        FitLoop { loads_best, ..self }
    }

    /// Whether the [history](FitLoop::history) keeps the values of steps. Those of the starts and ends of epochs are
    /// kept in any case. Default: yes.
    pub fn track_steps(self, tracks_steps: bool) -> Self {
        self.with_stages(|stages| stages.tracks_steps = tracks_steps)
    }

    /// The learning rate as a function of completed updates. Default: 1e-3.
    pub fn learning_rate(self, schedule: impl Schedule + 'static) -> Self {
        self.map_unit(|unit| unit.learning_rate(schedule))
    }

    /// Replaces the unit, for its other settings: see [`Runner::map_unit`].
    pub fn map_unit(self, change: impl FnOnce(StagesUnit<E, X, Y, O>) -> StagesUnit<E, X, Y, O>) -> Self {
        FitLoop { runner: self.runner.map_unit(change), ..self }
    }

    /// Adds a callback: see [`Run::callback`](crate::Run::callback).
    pub fn callback(self, callback: impl Callback<StagesUnit<E, X, Y, O>> + 'a) -> Self {
        FitLoop { runner: self.runner.callback(callback), ..self }
    }

    /// Asks after every `epochs` epochs whether to go on: see [`AskToContinue`].
    pub fn ask_every(self, epochs: u64) -> Self {
        self.callback(AskToContinue::every(epochs))
    }

    /// Adds a closure that is called at an event: see [`Run::on`](crate::Run::on).
    pub fn on<R: Outcome>(
        self,
        trigger: impl Into<Trigger>,
        call: impl FnMut(&mut State, &mut StagesUnit<E, X, Y, O>) -> R + Send + 'a,
    ) -> Self {
        FitLoop { runner: self.runner.on(trigger, call), ..self }
    }

    /// Sets the saver: see [`Run::saver`](crate::Run::saver).
    pub fn saver(self, saver: impl Saver + 'a) -> Self {
        FitLoop { runner: self.runner.saver(saver), ..self }
    }

    /// Sets the seed of every random choice of the run. Default: 0.
    pub fn seed(self, seed: u64) -> Self {
        FitLoop { runner: self.runner.seed(seed), ..self }
    }

    /// Sets the rank of this process among those that train together. Default: the only one.
    pub fn rank(self, rank: Rank) -> Self {
        FitLoop { runner: self.runner.rank(rank), ..self }
    }

    /// Trains together with other processes: see [`Run::peers`](crate::Run::peers).
    pub fn peers(self, peers: Arc<dyn Peers>) -> Self {
        FitLoop { runner: self.runner.peers(peers), ..self }
    }

    /// Gives the hyper-parameters of the run to logs and checkpoints: see
    /// [`Run::hyper_parameters`](crate::Run::hyper_parameters).
    pub fn hyper_parameters(self, settings: HyperParameters) -> Self {
        FitLoop { runner: self.runner.hyper_parameters(settings), ..self }
    }

    /// Trains `epochs` epochs more, with a validation after each if there is [data](FitLoop::valid_data) for it. Then
    /// the module has the weights of the best validation, if there are [criteria](FitLoop::criteria).
    ///
    /// A call that was paused, or failed, or was restored from a checkpoint, goes on instead, to the end that it had.
    /// The best weights are loaded at its end only.
    pub fn fit(&mut self, epochs: u64) -> Result<Report, Error> {
        self.keep_initial_state()?;
        let [train, valid, _] = &self.data;
        let train = train.as_ref().ok_or_else(|| missing("fit", Set::Train))?;
        let done = self.runner.state().train_progress().epochs;
        let stages = self.runner.unit_mut().task_mut();
        if stages.ended_at.take().is_some() {
            stages.goal = done.saturating_add(epochs);
        }
        let goal = stages.goal;
        stages.score = first_score(valid.is_some(), self.best.as_ref());
        let fitted = match valid {
            Some(valid) => self.runner.fit(train, valid, Fit::epochs(goal)),
            None => self.runner.train(train, Train::epochs(goal)),
        };
        if fitted.is_err() {
            let stages = self.runner.unit_mut().task_mut();
            stages.ended_at = None;
            stages.history.end(Set::Train, RunStatus::Aborted);
        }
        let report = fitted?;
        if self.loads_best && !matches!(report.ended, Ended::Paused(_)) {
            self.load_best_weights()?;
        }
        Ok(report)
    }

    /// Clears a final stop, such as that of [`ask_every`](FitLoop::ask_every). The next [`fit`](FitLoop::fit) then trains
    /// its own number of epochs more.
    pub fn go_on(&mut self) {
        let steps = self.runner.state().train_progress().steps;
        self.runner.unit_mut().task_mut().ended_at = Some(steps);
        self.runner.run().go_on();
    }

    /// Puts the weights of the best validation into the module. Returns `false` if there are none.
    pub fn load_best_weights(&mut self) -> Result<bool, Error> {
        let best = self.best.as_ref().map_or(Ok(false), |best| best.restore(self.runner.unit_mut()));
        let is_restored = best.map_err(Error::config)?;
        if is_restored {
            self.runner.run().set_other_weights();
            self.configure()?;
        }
        Ok(is_restored)
    }

    /// Evaluates once over the [test data](FitLoop::test_data), with the stages of the test set. It changes nothing of
    /// the training, and the best weights stay the best.
    pub fn test(&mut self) -> Result<Report, Error> {
        let test = self.data[Set::Test as usize].as_ref().ok_or_else(|| missing("test", Set::Test))?;
        self.runner.unit_mut().task_mut().tests = true;
        let report = self.runner.evaluate(test, Evaluate::whole());
        self.runner.unit_mut().task_mut().tests = false;
        let is_complete = report.as_ref().is_ok_and(|report| !matches!(report.ended, Ended::Paused(_)));
        let status = if is_complete { RunStatus::Complete } else { RunStatus::Aborted };
        self.history_mut().end(Set::Test, status);
        report
    }

    /// Restores the latest checkpoint of the saver. Returns `None` if nothing was saved yet.
    ///
    /// A fit that had ended there ends with its best weights, as it did in the process that saved it.
    pub fn restore_latest(&mut self) -> Result<Option<Restored>, Error> {
        self.keep_initial_state()?;
        let restored = self.runner.restore_latest()?;
        if restored.is_some() {
            self.end_restored()?;
        }
        Ok(restored)
    }

    /// Restores the checkpoint at `path`, as [`restore_latest`](FitLoop::restore_latest) does the latest.
    pub fn restore_path(&mut self, path: impl AsRef<Path>) -> Result<Restored, Error> {
        self.keep_initial_state()?;
        let restored = self.runner.restore_path(path)?;
        self.end_restored()?;
        Ok(restored)
    }

    /// Loads the best weights if the restored checkpoint is that of the end of a fit: it is saved before they are.
    fn end_restored(&mut self) -> Result<(), Error> {
        let steps = self.runner.state().train_progress().steps;
        if self.loads_best && self.runner.unit().task().ended_at == Some(steps) {
            self.load_best_weights()?;
        }
        Ok(())
    }

    /// The record of the newest epoch over `set`, in order. Empty until that epoch ends.
    pub fn record(&self, set: Set) -> &[(String, f64)] {
        self.runner.unit().task().record(set)
    }

    /// The values that the stages returned, by set, run, stage and name.
    pub fn history(&self) -> &History {
        self.runner.unit().task().history()
    }

    /// The same, to [clear](History::clear) it.
    pub fn history_mut(&mut self) -> &mut History {
        &mut self.runner.unit_mut().task_mut().history
    }

    /// Prints the chart of `name` in the newest fit, over the width of the terminal: see [`History::figure`], which makes
    /// those of other runs and sets, and files.
    pub fn plot(&self, name: &str) -> Result<(), Error> {
        let figure = self.history().figure(name, Runs::Last).map_err(Error::config)?;
        let terminal = console::Term::stdout();
        let columns = if terminal.is_term() { usize::from(terminal.size().1) } else { 80 };
        write!(io::stdout(), "{figure:columns$}")
            .map_err(|cause| Error::config(format!("cannot print the chart: {cause}")))
    }

    /// A handle that pauses the run from another thread.
    pub fn pause_handle(&self) -> PauseHandle {
        self.runner.pause_handle()
    }

    /// The state of the run.
    pub fn state(&self) -> &State {
        self.runner.state()
    }

    /// The unit, with engine and stages.
    pub fn unit(&self) -> &StagesUnit<E, X, Y, O> {
        self.runner.unit()
    }

    /// The runner, for its other calls.
    pub fn runner(&mut self) -> &mut Runner<'a, StagesUnit<E, X, Y, O>> {
        &mut self.runner
    }

    fn with_stages(mut self, change: impl FnOnce(&mut Stages<E, X, Y, O>)) -> Self {
        change(self.runner.unit_mut().task_mut());
        self
    }
}

/// The metric of the score, and the score before the first validation, if there are criteria and data for one.
fn first_score(has_valid: bool, best: Option<&BestWeights>) -> Option<(Key, f64)> {
    best.filter(|_| has_valid).map(|best| (best.key().clone(), best.goal().worst()))
}

fn missing(call: &str, set: Set) -> Error {
    let name = set.name();
    Error::config(format!("`{call}`: there is no {name} data; give it with `{name}_data`"))
}

/// The epochs that were trained and the best score: `FitLoop :: epochs: 14 accuracy: 0.9000`.
impl<E: Engine, X, Y, O> fmt::Display for FitLoop<'_, E, X, Y, O>
where
    Stages<E, X, Y, O>: Task<E>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FitLoop :: epochs: {}", self.runner.state().train_progress().epochs)?;
        let Some(best) = &self.best else { return Ok(()) };
        let name = best.key().name();
        let name = name.strip_prefix("eval/").unwrap_or(name);
        let value = best.best().map_or(best.goal().worst(), |best| best.value);
        write!(f, " {name}: {value:.4}")
    }
}

impl<E: Engine, X, Y, O> fmt::Debug for FitLoop<'_, E, X, Y, O>
where
    Stages<E, X, Y, O>: Task<E>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FitLoop")
            .field("runner", &self.runner)
            .field("best", &self.best.as_ref().and_then(BestWeights::best))
            .field("loads_best", &self.loads_best)
            .field("folder", &self.folder)
            .field("overwrites", &self.overwrites)
            .finish_non_exhaustive()
    }
}
