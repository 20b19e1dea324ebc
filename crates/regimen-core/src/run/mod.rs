//! A run: a unit with its state and callbacks, which can be called, paused and called again.

mod call;
mod dry_run;
mod entry;
mod held;
mod limits;
pub(crate) mod look_ahead;
mod loops;
mod passes;
mod prediction_sink;
pub(crate) mod probe;
mod report;
mod restore;
mod saver;

pub use entry::{evaluate, fit, predict, train};
pub use limits::{Evaluate, Fit, Predict, Train};
pub use prediction_sink::PredictionSink;
pub use probe::Probe;
pub use report::{Ended, EpochMetrics, Report};
pub use saver::{Moment, Restored, Saver, Which};

use std::fmt;
use std::sync::Arc;

use self::held::Held;
use self::loops::Evaluations;
use self::passes::{EvalPass, PredictPass};
use self::prediction_sink::ClosureSink;
use self::saver::Registered;
use crate::callback::closure::{On, Outcome};
use crate::callback::dispatch::Callbacks;
use crate::callback::{Every, Trigger};
use crate::data::{Data, Rank};
use crate::peers::Peers;
use crate::saved::AppState;
use crate::state::{EntryPoint, HyperParameters, PauseHandle};
use crate::unit::{EvalUnit, PredictUnit, TrainUnit};
use crate::{BoxError, Callback, Error, State};

/// A unit with its [`State`] and callbacks.
///
/// The entry points may be called one after another, in any order; each continues at the current
/// position of the run. After a pause or an error the next call continues with the very batch that was
/// due: `steps(7)` and then `steps(14)` equals `steps(14)`.
///
/// The order of a call, with `unit` hooks before callbacks at every line:
///
/// ```text
/// train, fit                                      evaluate, predict
///
/// train start                                     eval start
/// until a limit or a stop                         eval epoch start   unless a paused one goes on
///   cycle start         fit only                  for every batch
///   train epoch start   unless a paused one goes on
///   until data or cap   or a limit or a stop        eval fetch start, fetch end
///     train fetch start, fetch end                  eval step start, step, step end
///     train step start, step, step end            eval epoch end
///     an evaluation     fit only, if due          eval end
///   train epoch end
///   an evaluation       fit only, if due
///   cycle end           fit only
/// train end
/// ```
///
/// An epoch ends only by its data or its cap. A limit, a stop or an error leaves it open: it is
/// not counted, its end hooks do not run, and it goes on in the next call. So does an evaluation of
/// `fit` that is half done, and one that is due but has not begun, in the next call of `fit`.
///
/// ```
/// use regimen_core::{BoxError, Run, State};
/// use regimen_core::run::Train;
/// use regimen_core::unit::TrainUnit;
///
/// struct Count(u64);
///
/// impl TrainUnit for Count {
///     type Batch = u64;
///     fn train_step(&mut self, _: &mut State, batch: u64) -> Result<(), BoxError> {
///         self.0 += batch;
///         Ok(())
///     }
/// }
///
/// let (mut unit, data) = (Count(0), [1, 2, 3]);
/// let mut run = Run::new(&mut unit);
/// run.train(&data, Train::steps(4))?;
/// run.train(&data, Train::epochs(2))?;
/// assert_eq!(run.state().train_progress().steps, 6);
/// assert_eq!(run.unit().0, 12);
/// # Ok::<(), regimen_core::Error>(())
/// ```
pub struct Run<'a, U: ?Sized> {
    pub(crate) unit: Held<'a, U>,
    pub(crate) state: State,
    pub(crate) callbacks: Callbacks<'a, U>,
    pub(crate) saver: Option<Registered<'a, U>>,
    /// Metrics for the report of the call under way.
    pub(crate) epochs: Vec<EpochMetrics>,
    pub(crate) notices: Vec<String>,
    restored: Option<Restored>,
    /// The first setting that cannot be used: every call returns it.
    mistake: Option<String>,
}

impl<'a, U: ?Sized> Run<'a, U> {
    /// A run of `unit` that has not begun, with seed 0 and no callbacks.
    pub fn new(unit: &'a mut U) -> Self {
        Run::of(Held::Borrowed(unit))
    }

    /// The same for a unit that the run owns, so that a struct or a thread can hold both.
    ///
    /// ```
    /// # use regimen_core::Run;
    /// struct Search<U: 'static> {
    ///     trials: Vec<Run<'static, U>>,
    /// }
    ///
    /// impl<U: 'static> Search<U> {
    ///     fn add(&mut self, unit: U, seed: u64) {
    ///         self.trials.push(Run::owned(unit).seed(seed));
    ///     }
    /// }
    /// ```
    pub fn owned(unit: U) -> Self
    where
        U: Sized,
    {
        Run::of(Held::Owned(Box::new(unit)))
    }

    fn of(unit: Held<'a, U>) -> Self {
        let (state, callbacks) = (State::new(), Callbacks::new());
        let (epochs, notices) = (Vec::new(), Vec::new());
        Run { unit, state, callbacks, saver: None, epochs, notices, restored: None, mistake: None }
    }

    /// Sets the seed from which every random choice of the run is keyed: the order of the data,
    /// its augmentation, and what the engine draws in each step. Initial weights are drawn before
    /// the run and are not among them. 0 by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.state.set_seed(seed);
        self
    }

    /// Gives the hyper-parameters of the run to every log that takes them, and to checkpoints. A restored
    /// run keeps those that are given, and each that was another when it was saved is a
    /// [notice](State::notices).
    ///
    /// ```
    /// # use regimen_core::Run;
    /// # use regimen_core::state::HyperParameters;
    /// # fn example<U>(run: Run<'_, U>) -> Run<'_, U> {
    /// run.hyper_parameters(HyperParameters::new().with("rate", 1e-3).with("batch_size", 64))
    /// # }
    /// ```
    pub fn hyper_parameters(mut self, settings: HyperParameters) -> Self {
        self.state.set_hyper_parameters(settings);
        self
    }

    /// Says which process this is among those that train together. The only one by default.
    pub fn rank(mut self, rank: Rank) -> Self {
        if rank.count <= rank.index {
            self.refuse(format!("rank {} of {} does not exist", rank.index, rank.count));
        }
        self.state.set_rank(rank);
        self
    }

    /// Trains together with other processes: each has a share of every batch, and gradients, metrics, stops and
    /// checkpoints are those of all. Every rank makes the same calls. [`rank`](Run::rank) need not be
    /// given.
    ///
    /// If a call fails on one rank, it fails on all, and no further call is possible with these peers. A restore that fails is
    /// undone on all, and another call may follow.
    pub fn peers(mut self, peers: Arc<dyn Peers>) -> Self {
        self.state.set_peers(peers);
        self
    }

    /// Adds a callback. At each event they are called in the order in which they were added.
    pub fn callback(mut self, callback: impl Callback<U> + 'a) -> Self {
        let watched = callback.metrics_every();
        if let Err(error) = watched.check(&format!("callback {}", callback.name())) {
            self.refuse(error.to_string());
        }
        if watched != Every::NEVER {
            self.state.watch(watched);
        }
        self.callbacks.add(Box::new(callback));
        self
    }

    /// Adds a closure as a callback: it is called at an event, or at an event at a cadence, and
    /// returns nothing or a `Result<(), BoxError>`.
    ///
    /// ```
    /// # use regimen_core::callback::{Event, Every};
    /// # use regimen_core::{Run, State};
    /// # fn example<U>(run: Run<'_, U>) -> Run<'_, U> {
    /// run.on(Event::TrainStepEnd.every(Every::steps(100)), |state: &mut State, _: &mut U| {
    ///     if 10_000 <= state.train_progress().steps { state.pause("that is enough") }
    /// })
    /// # }
    /// ```
    pub fn on<R: Outcome>(
        mut self,
        trigger: impl Into<Trigger>,
        call: impl FnMut(&mut State, &mut U) -> R + Send + 'a,
    ) -> Self {
        let trigger = trigger.into();
        let checked = trigger.every.map_or(Ok(()), |every| every.check(&format!("`on` {}", trigger.event)));
        if let Err(error) = checked {
            self.refuse(error.to_string());
        }
        self.callbacks.add(Box::new(On::new(trigger, call)));
        self
    }

    /// Sets the saver, which saves the run and restores it; it replaces one set before.
    ///
    /// The unit must list its parts by [`AppState`]. Without a saver it need not:
    ///
    /// ```compile_fail,E0277
    /// # use regimen_core::{BoxError, Run};
    /// # use regimen_core::run::Saver;
    /// struct Untold(f64);
    ///
    /// # fn example(saver: impl Saver, unit: &mut Untold) {
    /// Run::new(unit).saver(saver);
    /// # }
    /// ```
    pub fn saver(mut self, saver: impl Saver + 'a) -> Self
    where
        U: AppState,
    {
        let saver = Registered::new(saver);
        self.saver = Some(if self.state.probe().is_some() { saver.timed() } else { saver });
        self
    }

    /// Replaces the unit of a run that [owns](Run::owned) it, for settings that are made by value, as those of
    /// [`AutoUnit`](crate::AutoUnit). If the run borrows its unit, every call is an error.
    ///
    /// ```
    /// # use regimen_core::{AutoUnit, Run, Task};
    /// # use regimen_core::engine::Engine;
    /// # fn example<E: Engine, T: Task<E>>(run: Run<'_, AutoUnit<E, T>>) -> Run<'_, AutoUnit<E, T>> {
    /// run.map_unit(|unit| unit.accumulate(4).clip_norm(1.0))
    /// # }
    /// ```
    pub fn map_unit(mut self, change: impl FnOnce(U) -> U) -> Self
    where
        U: Sized,
    {
        self.unit = match self.unit {
            Held::Owned(unit) => Held::Owned(Box::new(change(*unit))),
            borrowed => {
                self.mistake.get_or_insert(
                    "`map_unit`: the run borrows its unit; give it one with `Run::owned`".into(),
                );
                borrowed
            }
        };
        self
    }

    /// Notes that the weights were replaced between two calls: a pass over data that is half done starts over in the
    /// next call, with a notice. It would be a mix of two models.
    pub fn set_other_weights(&mut self) {
        self.state.set_other_weights();
    }

    /// Clears a final stop, so that the next call continues.
    pub fn go_on(&mut self) {
        self.state.clear_stop(true);
    }

    /// A handle that pauses this run from another thread.
    pub fn pause_handle(&self) -> PauseHandle {
        self.state.pause_handle()
    }

    /// The state of the run.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The unit.
    pub fn unit(&self) -> &U {
        &self.unit
    }

    /// The unit, for changes between two calls.
    pub fn unit_mut(&mut self) -> &mut U {
        &mut self.unit
    }

    /// Trains on `data` up to the limits of `config`.
    pub fn train<D>(&mut self, data: &D, config: Train) -> Result<Report, Error>
    where
        U: TrainUnit,
        D: Data<Batch = U::Batch> + ?Sized,
    {
        self.call(EntryPoint::Train, |run| loops::train(run, data, &config.limits, None))
    }

    /// Trains on `train` up to the limits of `config`, and evaluates on `eval` at its cadence.
    pub fn fit<T, E>(&mut self, train: &T, eval: &E, config: Fit) -> Result<Report, Error>
    where
        U: TrainUnit + EvalUnit,
        T: Data<Batch = <U as TrainUnit>::Batch> + ?Sized,
        E: Data<Batch = <U as EvalUnit>::Batch> + ?Sized,
    {
        self.call(EntryPoint::Fit, |run| {
            config.check()?;
            run.state.expect_evaluations(config.eval.steps);
            let evaluate = &mut |run: &mut Self| loops::pass(run, &mut EvalPass, eval, &config.eval.limits());
            let evaluations = Evaluations { every: config.eval_every, evaluate };
            loops::train(run, train, &config.limits, Some(evaluations))
        })
    }

    /// Evaluates once over `data`, from its beginning. A pass by hand has separate counters and
    /// metrics, and changes nothing of the training and of the evaluations of `fit`.
    ///
    /// A pass that was paused or failed continues only if [`Evaluate::resume`] names it.
    pub fn evaluate<D>(&mut self, data: &D, config: Evaluate) -> Result<Report, Error>
    where
        U: EvalUnit,
        D: Data<Batch = U::Batch> + ?Sized,
    {
        self.call(EntryPoint::Evaluate, |run| {
            run.state.begin_by_hand(config.resume);
            loops::pass(run, &mut EvalPass, data, &config.limits())
        })
    }

    /// Predicts once over `data`, from its beginning, and hands each output to `sink`. Otherwise as
    /// [`evaluate`](Run::evaluate). For outputs that go to a file, and a pass that may be paused, see
    /// [`predict_into`](Run::predict_into).
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
        self.predict_into(data, config, &mut ClosureSink(sink))
    }

    /// Predicts once over `data` into a sink with a position. With
    /// [`Predict::resume`](Evaluate::resume) a paused prediction continues without writing an output
    /// twice, also after a restart. A finished one stays finished.
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
        self.call(EntryPoint::Predict, |run| {
            run.state.begin_by_hand(config.resume);
            loops::pass(run, &mut PredictPass(sink), data, &config.limits())
        })
    }

    /// Adds a [notice](State::notify) between two calls. The next one sends it.
    pub fn notify(&mut self, notice: impl Into<String>) {
        self.state.notify(notice);
    }

    fn refuse(&mut self, mistake: String) {
        self.mistake.get_or_insert(mistake);
    }
}

impl<U: ?Sized> fmt::Debug for Run<'_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("state", &self.state)
            .field("callbacks", &self.callbacks)
            .finish_non_exhaustive()
    }
}
