//! A run: a unit with its state and callbacks, which can be called, paused and called again.

use std::fmt;

use crate::callbacks::Callbacks;
use crate::on::{On, Outcome};
use crate::passes::{EvalPass, PredictPass};
use crate::{
    BoxError, Callback, Data, Ended, EpochMetrics, Error, EvalUnit, Evaluate, Every, Fit, Kind, Phase, Place,
    Predict, PredictUnit, Rank, Report, Source, State, StateDict, Stateful, StopHandle, Train, TrainUnit,
    Trigger, loops,
};

/// A unit with its [`State`] and callbacks.
///
/// The entry points may be called one after another, in any order; each goes on from where the
/// run stands. After a pause or an error the next call continues with the very batch that would
/// have come: `steps(7)` and then `steps(14)` equals `steps(14)`.
///
/// What happens in a call, with `unit` hooks before callbacks at every line:
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
/// not counted, its end hooks do not run, and it goes on in the next call. So does an evaluation
/// that is half done, and one that is due but has not begun.
///
/// ```
/// use regimen_core::{BoxError, Run, State, Train, TrainUnit};
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
/// assert_eq!(run.state().train().steps, 6);
/// assert_eq!(run.unit().0, 12);
/// # Ok::<(), regimen_core::Error>(())
/// ```
pub struct Run<'a, U: ?Sized> {
    pub(crate) unit: &'a mut U,
    pub(crate) state: State,
    pub(crate) callbacks: Callbacks<'a, U>,
    pub(crate) epochs: Vec<EpochMetrics>,
    /// The first setting that cannot be used, returned when the run starts.
    mistake: Option<Error>,
}

impl<'a, U: ?Sized> Run<'a, U> {
    /// A run of `unit` that has not begun, with seed 0 and no callbacks.
    pub fn new(unit: &'a mut U) -> Self {
        let (state, callbacks) = (State::new(), Callbacks::new());
        Run { unit, state, callbacks, epochs: Vec::new(), mistake: None }
    }

    /// Sets the seed from which every random choice of the run is keyed: the order of the data,
    /// its augmentation, and what the engine draws in each step. Initial weights are drawn before
    /// the run and are not among them. 0 by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.state.set_seed(seed);
        self
    }

    /// Says which process this is among those that train together. The only one by default.
    pub fn rank(mut self, rank: Rank) -> Self {
        if rank.count <= rank.index {
            self.refuse(Error::config(format!("rank {} of {} does not exist", rank.index, rank.count)));
        }
        self.state.set_rank(rank);
        self
    }

    /// Adds a callback. At each event they are called in the order in which they were added.
    pub fn callback(mut self, callback: impl Callback<U> + 'a) -> Self {
        let watched = callback.metrics_every();
        if let Err(error) = watched.check(&format!("callback {}", callback.name())) {
            self.refuse(error);
        }
        if watched != Every::NEVER {
            self.state.watch(watched);
        }
        self.callbacks.add(Box::new(callback));
        self
    }

    /// Adds a closure as a callback: it is called at an event, or at every n-th of it, and
    /// returns nothing or a `Result<(), BoxError>`.
    ///
    /// ```
    /// # use regimen_core::{Event, Run, State};
    /// # fn example<U>(run: Run<'_, U>) -> Run<'_, U> {
    /// run.on(Event::TrainStepEnd.every(100), |state: &mut State, _: &mut U| {
    ///     if 10_000 <= state.train().steps { state.stop("that is enough") }
    /// })
    /// # }
    /// ```
    pub fn on<R: Outcome>(
        mut self,
        trigger: impl Into<Trigger>,
        call: impl FnMut(&mut State, &mut U) -> R + Send + 'a,
    ) -> Self {
        let trigger = trigger.into();
        if trigger.every == 0 {
            let event = trigger.event;
            self.refuse(Error::config(format!("`on` {event}: a cadence of 0 is never due; give 1 or more")));
        }
        self.callbacks.add(Box::new(On::new(trigger, call)));
        self
    }

    /// Forgets a final stop, so that the next call goes on all the same.
    pub fn go_on(&mut self) {
        self.state.clear_stop(true);
    }

    /// A handle that pauses this run from another thread.
    pub fn stop_handle(&self) -> StopHandle {
        self.state.stop_handle()
    }

    /// Where the run stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The unit.
    pub fn unit(&self) -> &U {
        self.unit
    }

    /// The unit, to be changed between two calls.
    pub fn unit_mut(&mut self) -> &mut U {
        self.unit
    }

    /// Trains on `data` up to the limits of `config`.
    pub fn train<D>(&mut self, data: &D, config: Train) -> Result<Report, Error>
    where
        U: TrainUnit,
        D: Data<Batch = U::Batch> + ?Sized,
    {
        self.call(Phase::Train, |run| loops::train(run, data, &config.limits, None, &mut |_| Ok(())))
    }

    /// Trains on `train` up to the limits of `config`, and evaluates on `eval` at its cadence.
    pub fn fit<T, E>(&mut self, train: &T, eval: &E, config: Fit) -> Result<Report, Error>
    where
        U: TrainUnit + EvalUnit,
        T: Data<Batch = <U as TrainUnit>::Batch> + ?Sized,
        E: Data<Batch = <U as EvalUnit>::Batch> + ?Sized,
    {
        self.call(Phase::Train, |run| {
            config.check()?;
            let mut evaluate = |run: &mut Self| loops::once(run, &mut EvalPass, eval, &config.eval.limits());
            loops::train(run, train, &config.limits, Some(config.eval_every), &mut evaluate)
        })
    }

    /// Evaluates once over `data`. A half-done evaluation is completed.
    pub fn evaluate<D>(&mut self, data: &D, config: Evaluate) -> Result<Report, Error>
    where
        U: EvalUnit,
        D: Data<Batch = U::Batch> + ?Sized,
    {
        self.call(Phase::Eval, |run| loops::once(run, &mut EvalPass, data, &config.limits()))
    }

    /// Predicts once over `data`, and hands each output to `sink`. A half-done prediction is
    /// completed: the batches before the pause are not predicted again.
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
        self.call(Phase::Predict, |run| loops::once(run, &mut PredictPass(sink), data, &config.limits()))
    }

    /// What a checkpoint holds beside the unit's parts: progress, metrics in flight, where a
    /// cycle stands, a final stop, and the state of every callback.
    pub fn state_dict(&mut self) -> Result<StateDict, Error> {
        let mut save = || {
            let mut dict = self.callbacks.state_dict()?;
            dict.insert_all("run", self.state.state_dict()?)?;
            Ok(dict)
        };
        save().map_err(state_error)
    }

    /// Puts back what [`state_dict`](Run::state_dict) gave, the seed included. Callbacks without
    /// saved state, and saved state without a callback, are told as notices.
    ///
    /// Everything is checked before anything is changed.
    pub fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), Error> {
        let mut load = || {
            let mut all = dict.clone();
            let mut run = StateDict::new();
            for (name, _) in dict.iter().filter(|(name, _)| name.starts_with("run.")) {
                run.insert(&name["run.".len()..], all.remove(name)?)?;
            }
            self.callbacks.check_state_dict(&all)?;
            self.state.load_state_dict(&run)?;
            self.callbacks.load_state_dict(&all)
        };
        let notices = load().map_err(state_error)?;
        notices.into_iter().for_each(|notice| self.state.notify(notice));
        Ok(())
    }

    /// One call of an entry point: `body` between what every call begins and ends with.
    fn call(
        &mut self,
        phase: Phase,
        body: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<Report, Error> {
        if let Some(mistake) = self.mistake.take() {
            return Err(mistake);
        }
        self.state.enter(phase);
        self.epochs.clear();
        let result = body(self);
        let ended = match self.state.stopping() {
            None => Ended::Complete,
            Some(stop) if stop.is_final => Ended::Finished(stop.reason.to_string()),
            Some(stop) => Ended::Paused(stop.reason.to_string()),
        };
        self.state.clear_stop(false);
        match result {
            Ok(()) => Ok(Report {
                ended,
                train: self.state.train(),
                eval: self.state.eval(),
                predict: self.state.predict(),
                epochs: std::mem::take(&mut self.epochs),
            }),
            Err(mut error) => {
                self.callbacks.tell(&self.state, self.unit, &mut error);
                Err(error)
            }
        }
    }

    fn refuse(&mut self, mistake: Error) {
        self.mistake.get_or_insert(mistake);
    }
}

fn state_error(cause: BoxError) -> Error {
    Error::new(Kind::State, Place { source: Source::State, phase: None, epoch: 0, step: 0 }, cause)
}

impl<U: ?Sized> fmt::Debug for Run<'_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("state", &self.state)
            .field("callbacks", &self.callbacks)
            .finish_non_exhaustive()
    }
}
