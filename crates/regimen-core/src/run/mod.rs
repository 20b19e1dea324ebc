//! A run: a unit with its state and callbacks, which can be called, paused and called again.

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
use crate::callback::dispatch::{CallbackStates, Callbacks};
use crate::callback::{Event, Every, Trigger};
use crate::data::{Data, Rank};
use crate::error::ErrorKind;
use crate::error::guard::{Caught, guard};
use crate::metric::Key;
use crate::peers::{AgreedError, PeerLost, Peers};
use crate::saved::{AppState, StateDict};
use crate::state::{EntryPoint, HyperParameters, PauseHandle, Phase, Stop};
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

    /// Restores the latest whole checkpoint of the saver. Returns `None` if nothing was saved yet, so
    /// one program both starts and resumes a run.
    pub fn restore_latest(&mut self) -> Result<Option<Restored>, Error> {
        self.restore_if_any(Which::Latest)
    }

    /// Restores the best checkpoint of the saver, by the metric that it keeps the best of. It is an
    /// error if there is none.
    ///
    /// ```
    /// # use regimen_core::{Error, Run};
    /// # use regimen_core::run::Saver;
    /// # use regimen_core::saved::AppState;
    /// # fn example(unit: &mut impl AppState, saver: impl Saver) -> Result<(), Error> {
    /// let mut run = Run::new(unit).saver(saver);
    /// run.restore_best()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn restore_best(&mut self) -> Result<Restored, Error> {
        self.restore(Which::Best)
    }

    /// Restores the checkpoint that `which` selects. It is an error if there is none, or if the run has
    /// no saver. After an error, run and unit are as they were.
    pub fn restore(&mut self, which: Which<'_>) -> Result<Restored, Error> {
        let restored = self.restore_if_any(which)?;
        restored.ok_or_else(|| Error::config("`restore`: the saver has nothing to restore"))
    }

    fn restore_if_any(&mut self, which: Which<'_>) -> Result<Option<Restored>, Error> {
        if self.saver.is_none() {
            return Err(Error::config("`restore`: the run has no saver; give it one with `Run::saver`"));
        }
        self.state.update_rank();
        let restored = self
            .with_saver_of_any_rank(|saver, moment| saver.restore(which, moment))
            .and_then(|restored| self.confirm(restored))
            .inspect_err(|error| self.abort(error))?
            .flatten();
        for skipped in restored.iter().flat_map(|restored| &restored.skipped) {
            self.state.notify(format!("passed over {skipped}"));
        }
        if restored.is_some() {
            self.restored.clone_from(&restored);
        }
        Ok(restored)
    }

    /// Restores the latest checkpoint after an error about a number that
    /// [is not finite](Error::is_not_finite), for the next call to go on from there. It passes over the batch of
    /// the step that is to blame: reads it and makes no step of it. What is passed over is saved, so a restarted
    /// run passes over the same. A notice says so.
    ///
    /// Returns `None` and changes nothing for other errors, if [no step](Error::not_finite_step) of the newest
    /// epochs is to blame, and if there is no checkpoint.
    ///
    /// Of several ranks each has other batches, so there it is an error.
    pub fn roll_back(&mut self, error: &Error) -> Result<Option<Restored>, Error> {
        let step = error.not_finite_step();
        let Some((step, batch)) = step.and_then(|step| Some((step, self.state.batch_of_step(step)?))) else {
            return Ok(None);
        };
        if self.state.rank().count != 1 {
            return Err(Error::config("`roll_back`: not among several ranks, whose batches differ"));
        }
        let mut passed_over = self.state.passed_over.clone();
        let Some(restored) = self.restore_latest()? else { return Ok(None) };
        let (from, (epoch, n)) = (restored.step, batch);
        if from <= step {
            passed_over.insert(batch);
            self.state.notify(format!(
                "rolled back to step {from}; batch {n} of epoch {epoch} is passed over: {error:#}"
            ));
        } else {
            self.state.notify(format!("rolled back to step {from}, which is after step {step}: {error:#}"));
        }
        // Those since the checkpoint are not in it.
        self.state.passed_over.append(&mut passed_over);
        Ok(Some(restored))
    }

    /// Goes back to where the ranks that are left can go on together, after a call that failed with a
    /// [`PeerLost`]: in training to the first step of the accumulation window under way, because
    /// the gradients that a lost rank held for it are gone, and in an evaluation of `fit` to its begin. Everything else
    /// is between two steps. Returns the number of training steps that are made again.
    ///
    /// The callbacks do not hear of these steps twice. Every rank that is left calls it, and compares its
    /// [`standing`](Run::standing). It does nothing unless the peers are [elastic](Peers::is_elastic). `survive` of
    /// `regimen-dist` calls it.
    ///
    /// The part of a lost rank in the training metrics of the epoch under way is lost: see
    /// [`State::epoch_samples`].
    pub fn rewind(&mut self) -> u64 {
        self.state.update_rank();
        if self.state.is_elastic() { self.state.rewind() } else { 0 }
    }

    /// The place of the run, for ranks to compare after [`rewind`](Run::rewind): ranks with the same text can go on
    /// together. Returns `None` if this rank cannot go on and must be [restored](Run::restore_latest). These are the cases:
    ///
    /// - an accumulation window of several steps, in which running statistics were exchanged or an evaluation was made,
    /// - an evaluation under way that was begun before a restart, or that goes on by name,
    /// - the end of an epoch at which weights were averaged,
    /// - a window in which a checkpoint was restored, or in which a task with a [state](crate::Task::stateful) has seen steps,
    /// - a [sharded](crate::AutoUnit::shard_optimizer) optimizer,
    /// - a callback with a state, such as early stopping, that was on the first rank alone, and the first rank was lost,
    /// - peers that are not [elastic](Peers::is_elastic).
    pub fn standing(&self) -> Option<String> {
        let has_lost_state = self.state.has_become_first() && self.callbacks.has_state_of_first();
        if has_lost_state { None } else { self.state.standing() }
    }

    /// Adds a [notice](State::notify) between two calls. The next one sends it.
    pub fn notify(&mut self, notice: impl Into<String>) {
        self.state.notify(notice);
    }

    /// The checkpoint restored last. Returns `None` if nothing was restored.
    pub fn restored(&self) -> Option<&Restored> {
        self.restored.as_ref()
    }

    /// The saved state apart from the unit's parts: progress, metrics in flight, the seed, a final
    /// stop, and the state of every callback. For programs that save by themselves. Logs are made durable.
    pub fn run_state(&mut self) -> Result<StateDict, BoxError> {
        let saved = saver::run_state(&self.state, &mut self.callbacks)?;
        self.callbacks.before_commit().into_iter().try_for_each(|work| work())?;
        Ok(saved)
    }

    /// Restores the state that [`run_state`](Run::run_state) returned. Callbacks without saved state,
    /// and saved state without a callback, become notices. After an error the run is as it was.
    pub fn load_run_state(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        saver::load_run_state(&mut self.state, &mut self.callbacks, dict, Rank::default())
    }

    /// One call of an entry point, of which the probe is told.
    fn call(
        &mut self,
        entry: EntryPoint,
        body: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<Report, Error> {
        let probe = self.state.probe().cloned();
        probe.iter().for_each(|probe| probe.call_began(entry));
        let result = self.call_untold(entry, body);
        probe.iter().for_each(|probe| probe.call_ended());
        result
    }

    /// The common start, `body`, the common end.
    fn call_untold(
        &mut self,
        entry: EntryPoint,
        body: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<Report, Error> {
        if let Some(mistake) = &self.mistake {
            return Err(Error::config(mistake.clone())).inspect_err(|error| self.abort(error));
        }
        self.state.update_rank();
        self.agree_on_call(entry).inspect_err(|error| self.abort(error))?;
        let phase = entry.phase();
        // A final stop ends training; evaluation and prediction are still possible.
        let over = if phase == Phase::Train { None } else { self.state.replace_stop(None) };
        self.state.aside = over.clone();
        self.state.begin(entry);
        self.epochs.clear();
        self.notices.clear();
        let begun = self.with_saver(|saver, moment| saver.begin(phase, moment));
        let result = begun.and_then(|_| body(self));
        let ended = match self.state.stopping() {
            None => Ended::Complete,
            Some(Stop::Finish(reason)) => Ended::Finished(reason.to_string()),
            Some(Stop::Pause(reason)) => Ended::Paused(reason.to_string()),
        };
        let pause = self.state.stopping().filter(|stop| !stop.is_final()).cloned();
        self.state.clear_stop(false);
        self.state.aside = None;
        if over.is_some() {
            self.state.replace_stop(over);
        }
        match result.and_then(|()| self.report(phase, ended)).and_then(|report| self.confirm(report)) {
            Ok(report) => Ok(report),
            Err(mut error) => {
                // There may be no later call to send them.
                if let Err(other) = loops::tell_notices(self) {
                    error.suppress(other);
                }
                // The call has ended: there is nothing left to pause.
                self.state.clear_stop(false);
                self.callbacks.send_error(&self.state, &mut self.unit, &mut error);
                let told = self.with_saver(|saver, moment| {
                    saver.on_error(&error, moment);
                    Ok(())
                });
                if let Err(other) = told {
                    error.suppress(other);
                }
                self.abort(&error);
                if self.state.is_elastic() && PeerLost::is_in(&error) && self.state.stopping().is_none() {
                    // The ranks that are left have not agreed on it: they do in the next call.
                    self.state.replace_stop(pause);
                }
                Err(error)
            }
        }
    }

    /// Every rank begins the same call, with the same seed.
    fn agree_on_call(&self, entry: EntryPoint) -> Result<(), Error> {
        let Some(peers) = self.state.peers() else { return Ok(()) };
        let own = format!("`{entry:?}` with the seed {}", self.state.seed()).to_lowercase();
        let at = |cause: BoxError| Caught::Failed(cause).at(&self.state, ErrorKind::Peers);
        let all = peers.gather(own.as_bytes()).map_err(at)?;
        let calls: Vec<_> = all.iter().map(|call| String::from_utf8_lossy(call)).collect();
        match calls.iter().position(|call| *call != calls[0]) {
            None => Ok(()),
            Some(rank) => Err(at(AgreedError::new(format!(
                "rank {rank} calls {}, and rank 0 {}; make the same calls, with the same seed, on all",
                calls[rank], calls[0]
            ))
            .into())),
        }
    }

    /// The result of a call that has succeeded here, if it has on every rank.
    fn confirm<R>(&self, result: R) -> Result<R, Error> {
        let confirmed = self.state.peers().map_or(Ok(()), |peers| peers.gather(&[]).map(drop));
        confirmed.map(|()| result).map_err(|cause| Caught::Failed(cause).at(&self.state, ErrorKind::Peers))
    }

    /// Ends the call of the others too, unless they have the same error.
    fn abort(&self, error: &Error) {
        if let Some(peers) = self.state.peers().filter(|_| !AgreedError::is_in(error)) {
            peers.abort(&format!("{error:#}"));
        }
    }

    /// The report of a call in `phase`, completed by the saver and the callbacks, then sent to these.
    fn report(&mut self, phase: Phase, ended: Ended) -> Result<Report, Error> {
        let mut report = Report {
            phase,
            ended,
            train: self.state.train_progress(),
            eval: self.state.eval_progress(),
            predict: self.state.predict_progress(),
            epochs: std::mem::take(&mut self.epochs),
            notices: std::mem::take(&mut self.notices),
            pending_steps: self.state.pending_steps(),
            bests: Vec::new(),
            saved: None,
        };
        let end = match phase {
            Phase::Train => Event::TrainEnd,
            Phase::Eval => Event::EvalEnd,
            Phase::Predict => Event::PredictEnd,
        };
        if phase == Phase::Train {
            let told = report.notices.len();
            self.with_saver(|saver, moment| {
                saver.sum_up(&mut report, moment);
                Ok(())
            })?;
            self.callbacks.each(&self.state, end, |callback| callback.sum_up(&mut report))?;
            report.notices[told..].iter().for_each(|notice| self.state.notify(notice.clone()));
            loops::tell_notices(self)?;
            // There is nothing left to pause.
            self.state.clear_stop(false);
        }
        self.callbacks.each(&self.state, end, |callback| callback.on_report(&report))?;
        Ok(report)
    }

    /// Calls the saver, if there is one and it saves on this rank.
    pub(crate) fn with_saver<R>(
        &mut self,
        call: impl FnOnce(&mut dyn Saver, &mut Moment<'_>) -> Result<R, BoxError>,
    ) -> Result<Option<R>, Error> {
        match &self.saver {
            Some(saver) if saver.ranks.contain(self.state.rank()) => self.with_saver_of_any_rank(call),
            _ => Ok(None),
        }
    }

    /// Calls the saver, if there is one.
    fn with_saver_of_any_rank<R>(
        &mut self,
        call: impl FnOnce(&mut dyn Saver, &mut Moment<'_>) -> Result<R, BoxError>,
    ) -> Result<Option<R>, Error> {
        let Run { saver: Some(saver), state, unit, callbacks, .. } = self else { return Ok(None) };
        let result = guard(|| saver.call(state, unit, callbacks, call));
        result.map(Some).map_err(|caught| caught.at(&self.state, ErrorKind::State))
    }

    /// Adds the metrics of an epoch to the report.
    pub(crate) fn record_epoch(&mut self, phase: Phase, epoch: u64, values: Vec<(Key, f64)>) {
        let train_step = self.state.train_progress().steps;
        self.epochs.push(EpochMetrics { phase, epoch, train_step, values });
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
