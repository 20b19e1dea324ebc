//! Replay: a step of a run folder made again, to look at it.

mod history;
mod replayed;

pub use replayed::{Comparison, Replayed};

use std::fmt;
use std::path::PathBuf;

use regimen_core::BoxError;
use regimen_core::callback::{Event, Events, Every};
use regimen_core::run::{Fit, Moment, Report, Restored, Saver, Train, Which};
use regimen_core::saved::AppState;
use regimen_core::unit::{EvalUnit, TrainUnit};
use regimen_core::{Callback, Error, Run, State};

use self::history::History;
use crate::callback::{FlightRecorder, FlightStep};
use crate::checkpoint::Checkpointer;
use crate::data::{Data, Loader};

/// Makes a training step of a run folder again: restores the newest whole checkpoint before it, or begins anew if there is
/// none, and trains up to it.
///
/// Nothing is changed: the unit is put back as it was (see [`Run::dry_run`](crate::Run::dry_run)), and no file of the folder
/// is written or locked, so a folder in use may be replayed. The step has the bits that it had if the data, the
/// settings and the machine are the same, within the limits of [exact resume](crate::guide::resume). [`Replayed`]
/// compares it with the records of it in `flight.json` and `metrics.jsonl`.
///
/// The unit is watched as it is set up: with [`detect_anomaly`](crate::AutoUnit::detect_anomaly) an error names the first number
/// that is not finite, and with a [`GradientMonitor`](crate::callback::GradientMonitor) the step has the norm of its gradient. A
/// run that was trained with `fit` is replayed with `fit`, because a plateau judges evaluations.
///
/// A batch that a [roll-back](crate::run::NanGuard) passes over is passed over from the first checkpoint after it on. From a
/// checkpoint before it, a replay trains on that batch, as the run did at first.
///
/// It is an error if the folder has no run, or one of another seed, if training ends before the step, if a step before it
/// fails, and among several ranks. The records of a run of several ranks are of the share of the first, so its steps are not
/// equal to those made again on one process. Without a checkpoint before the step the run must not have begun.
///
/// ```no_run
/// # use regimen::unit::TrainUnit;
/// # use regimen::saved::AppState;
/// # use regimen::{Error, Run};
/// # fn example<U: AppState + TrainUnit<Batch = u64>>(unit: &mut U, data: &[u64]) -> Result<(), Error> {
/// use regimen::replay::Replay;
/// use regimen::run::Train;
///
/// let mut run = Run::new(unit).seed(7);
/// let replayed = Replay::of("runs/mine", 731).train(&mut run, data, Train::epochs(10))?;
/// println!("{replayed}");
/// assert_ne!(replayed.is_equal(), Some(false));
/// # Ok(())
/// # }
/// ```
pub struct Replay<U: ?Sized> {
    dir: PathBuf,
    step: u64,
    recorder: FlightRecorder,
    callbacks: Vec<Box<dyn Callback<U>>>,
}

impl<U: AppState> Replay<U> {
    /// Step `step` of the run in the folder `dir`. The first is 1: a step is numbered by the completed steps after it, as in
    /// logs.
    pub fn of(dir: impl Into<PathBuf>, step: u64) -> Self {
        // Metrics are read at that step alone.
        let recorder = FlightRecorder::of_replay(Every::steps(step));
        Replay { dir: dir.into(), step, recorder, callbacks: Vec::new() }
    }

    /// Tells the indices of the samples of the step, as
    /// [`FlightRecorder::samples_of`](crate::callback::FlightRecorder::samples_of) does.
    pub fn samples_of<B: Send + 'static>(mut self, loader: &Loader<B>) -> Self {
        self.recorder = self.recorder.samples_of(loader);
        self
    }

    /// Adds a callback, such as a [`LearningRateMonitor`](crate::callback::LearningRateMonitor). The metrics of single steps
    /// are read at the step that is replayed.
    pub fn callback(mut self, callback: impl Callback<U> + 'static) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// Calls [`Run::train`] up to the step. `config` is that of the training.
    pub fn train<D>(self, run: &mut Run<'_, U>, data: &D, config: Train) -> Result<Replayed, Error>
    where
        U: TrainUnit,
        D: Data<Batch = U::Batch> + ?Sized,
    {
        self.replay(run, |dry| dry.train(data, config))
    }

    /// Calls [`Run::fit`] up to the step. `config` is that of the training.
    pub fn fit<T, E>(self, run: &mut Run<'_, U>, train: &T, eval: &E, config: Fit) -> Result<Replayed, Error>
    where
        U: TrainUnit + EvalUnit,
        T: Data<Batch = <U as TrainUnit>::Batch> + ?Sized,
        E: Data<Batch = <U as EvalUnit>::Batch> + ?Sized,
    {
        self.replay(run, |dry| dry.fit(train, eval, config))
    }

    fn replay(
        self,
        run: &mut Run<'_, U>,
        call: impl FnOnce(&mut Run<'_, U>) -> Result<Report, Error>,
    ) -> Result<Replayed, Error> {
        let Replay { dir, step, recorder, callbacks } = self;
        let history = History::before(&dir, step).map_err(Error::config)?;
        history.check(run.state()).map_err(Error::config)?;
        let recorded = recorder.recorded();
        let settings = run.state().hyper_parameters().clone();
        let (from, ended) = run.dry_run(|dry| {
            let mut dry = dry.saver(ReadOnly(Checkpointer::new(&dir)));
            if !settings.is_empty() {
                dry = dry.hyper_parameters(settings);
            }
            dry = callbacks.into_iter().fold(dry, Run::callback).callback(recorder);
            dry = dry.on(Event::TrainStepEnd, move |state: &mut State, _: &mut U| {
                if step <= state.train_progress().steps {
                    state.pause("the step is made");
                }
            });
            let from = match &history.checkpoint {
                Some(checkpoint) => Some(dry.restore(Which::Path(checkpoint.path()))?),
                None => None,
            };
            // Training went on after it.
            dry.go_on();
            Ok((from, call(&mut dry)))
        })??;
        match (recorded.newest().filter(|newest| newest.step == step), ended) {
            (Some(made), ended) => history.compare(made, from, ended.err()).map_err(Error::config),
            (None, Err(error)) => Err(error),
            (None, Ok(report)) => Err(Error::config(format!(
                "`Replay`: training does not come to step {step}; it ends after step {}",
                report.train.steps
            ))),
        }
    }
}

/// A saver that only restores.
struct ReadOnly(Checkpointer);

impl Saver for ReadOnly {
    fn events(&self) -> Events {
        Events::NONE
    }

    fn on_event(&mut self, _: Event, _: &mut Moment<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn restore(&mut self, which: Which<'_>, moment: &mut Moment<'_>) -> Result<Option<Restored>, BoxError> {
        self.0.restore(which, moment)
    }
}

impl<U: ?Sized> fmt::Debug for Replay<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("dir", &self.dir).field("step", &self.step).finish_non_exhaustive()
    }
}
