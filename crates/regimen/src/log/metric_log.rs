//! The callback that logs metrics.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fan_out::Failures;
use super::format::Format;
use super::wide::Columns;
use super::{Clock, ExistingFile, LogFile, MediaRecord, MetricSink, Record};
use crate::callback::{BeforeCommit, Event, Events, Every, Ranks};
use crate::error::WithCauses;
use crate::metric::Metric;
use crate::run::Report;
use crate::saved::Stateful;
use crate::state::Phase;
use crate::{BoxError, Callback, Error, State};

/// Writes metrics to a [`MetricSink`]: those of single training steps at a cadence, and those over
/// every epoch.
///
/// At a step it writes the metrics logged in that step, and asks for them through
/// [`State::wants_metrics`]; at the end of an epoch, of any phase, those logged in that epoch. A key
/// that is first logged late is a new name, and no error.
///
/// Among several [ranks](crate::Run::peers) only the first writes. The value over an epoch is that of all ranks. The value
/// of a step is that of the first rank's share of the batch.
pub struct MetricLog<S> {
    pub(super) sink: S,
    every: Every,
    clock: Clock,
    only: Box<dyn Fn(&str) -> bool + Send>,
    pub(super) on_failure: OnFailure,
    failing: bool,
    /// The error of a flush before a checkpoint, returned at the next event.
    unsaved: Arc<Mutex<Option<BoxError>>>,
}

/// The effect on the run of a log that cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Ends it with the error.
    #[default]
    Error,
    /// Sends it as a [notice](State::notices) and lets the run go on. Metrics of that time are
    /// not in the log, unless it [keeps](MetricSink::keeps_records) them; writing is tried again each time.
    Notice,
}

impl MetricLog<LogFile> {
    /// Writes to a CSV file with the columns `step,phase,name,value,epoch`.
    ///
    /// Its folder is created when the run starts. A file of an earlier run is kept under the next
    /// free name (`metrics.csv.1`), unless this run is restored or [`existing`](MetricLog::existing)
    /// says otherwise.
    pub fn csv(path: impl Into<PathBuf>) -> Self {
        MetricLog::to(LogFile::new(path.into(), Format::Csv))
    }

    /// Writes to a file with a JSON object in each line; otherwise as [`csv`](MetricLog::csv).
    pub fn jsonl(path: impl Into<PathBuf>) -> Self {
        MetricLog::to(LogFile::new(path.into(), Format::Jsonl))
    }

    /// Writes to a CSV file with a row per moment and a column per metric: `step,phase,epoch,train/loss,...`.
    ///
    /// A moment is a training step, whose epoch is empty, or an epoch. A metric that was not measured then
    /// has an empty field. Columns are in the order in which their metrics were first written. The first
    /// value of a new metric adds the last column: the file is written again with an empty field in
    /// each row before, and replaces the old one in one step. A pipe or a device is an error.
    ///
    /// A restored run removes the columns that were added behind its checkpoint along with the rows;
    /// otherwise this is as [`csv`](MetricLog::csv). Many metrics that come one by one make it slow: write
    /// those with `csv`.
    ///
    /// ```
    /// # use regimen::callback::Every;
    /// # use regimen::log::MetricLog;
    /// # use regimen::Run;
    /// # fn example<U>(run: Run<'_, U>) -> Run<'_, U> {
    /// run.callback(MetricLog::wide_csv("runs/digits/epochs.csv").every(Every::epochs(1)))
    /// # }
    /// ```
    pub fn wide_csv(path: impl Into<PathBuf>) -> Self {
        MetricLog::to(LogFile::new(path.into(), Format::Wide(Columns::new())))
    }

    /// The handling of a file of an earlier run; [`ExistingFile::Rename`] by default.
    pub fn existing(mut self, existing: ExistingFile) -> Self {
        self.sink.existing = existing;
        self
    }
}

impl<S: MetricSink> MetricLog<S> {
    /// Writes to `sink`.
    pub fn to(sink: S) -> Self {
        MetricLog {
            sink,
            every: Every::steps(10).or(Every::epochs(1)),
            clock: Clock::default(),
            only: Box::new(|_| true),
            on_failure: OnFailure::default(),
            failing: false,
            unsaved: Arc::default(),
        }
    }

    /// The cadence of records: steps and updates count training, epochs those of each phase. Default:
    /// every 10 steps and every epoch.
    pub fn every(mut self, every: Every) -> Self {
        self.every = every;
        self
    }

    /// The count that is written as the `step` of the records. Default: training steps. Lines on standard output and
    /// a Prometheus server still call it steps.
    ///
    /// ```
    /// # use regimen::log::{Clock, MetricLog};
    /// let log = MetricLog::tensorboard("runs/digits/tensorboard").clock(Clock::Samples);
    /// # drop(log);
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Writes only metrics, texts, images, histograms and sounds of which `is_written` is true, by their name.
    /// Default: all.
    ///
    /// ```
    /// # use regimen::log::MetricLog;
    /// let log = MetricLog::csv("runs/digits/eval.csv").only(|name| name.starts_with("eval/"));
    /// # drop(log);
    /// ```
    pub fn only(mut self, is_written: impl Fn(&str) -> bool + Send + 'static) -> Self {
        self.only = Box::new(is_written);
        self
    }

    /// The effect on the run of a log that cannot be written; [`OnFailure::Error`] by default.
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Writes what was measured in the `epoch` that ended, or in the training step.
    fn write_measured(&mut self, epoch: Option<u64>, state: &mut State) -> Result<(), BoxError> {
        let (train, phase) = (state.train_progress(), state.phase());
        let value =
            |metric: &Metric| epoch.map_or_else(|| metric.in_step(train.steps), |n| metric.in_epoch(n));
        let metrics = state.metrics(phase).iter().filter(|metric| (self.only)(metric.key().name()));
        let metrics = metrics.filter_map(|metric| Some((metric, value(metric)?)));
        let step = self.clock.count(train);
        let record = |(metric, value)| Record { step, phase, name: Metric::key(metric).name(), value, epoch };
        let records: Vec<_> = metrics.map(record).collect();
        let result = self.write(&records);
        self.settle(result, state)
    }

    fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError> {
        if !records.is_empty() {
            self.sink.write(records)?;
            self.failing = false;
        }
        Ok(())
    }

    /// Writes the texts, images, histograms and sounds since the last end of a step.
    fn write_media(&mut self, state: &mut State) -> Result<(), BoxError> {
        if state.media().is_empty() {
            return Ok(());
        }
        let (step, phase) = (self.clock.count(state.train_progress()), state.phase());
        let mut media = state.media().iter().filter(|(name, _)| (self.only)(name));
        let result = media
            .try_for_each(|(name, media)| self.sink.write_media(&MediaRecord { step, phase, name, media }));
        self.settle(result, state)
    }

    /// Opens the sink at the start of a call.
    fn open(&mut self, state: &mut State) -> Result<(), BoxError> {
        let opened = self.sink.open(state.entry_point());
        self.settle(opened, state)?;
        // Also if it is away: a log with a queue sends them later.
        if state.phase() == Phase::Train && !state.hyper_parameters().is_empty() {
            let written = self.sink.write_hyper_parameters(state.hyper_parameters());
            self.settle(written, state)?;
        }
        Ok(())
    }

    fn write_event(&mut self, event: Event, state: &mut State) -> Result<(), BoxError> {
        if let Event::TrainStart | Event::EvalStart | Event::PredictStart = event {
            return self.open(state);
        }
        self.write_media(state)?;
        match event {
            Event::TrainStepEnd | Event::TrainEpochEnd | Event::EvalEpochEnd | Event::PredictEpochEnd => {
                let epoch = (event != Event::TrainStepEnd).then_some(state.progress().epochs);
                if state.is_due(self.every) { self.write_measured(epoch, state) } else { Ok(()) }
            }
            // The end of the call, and of no evaluation within it.
            Event::TrainEnd | Event::EvalEnd | Event::PredictEnd
                if state.phase() == state.entry_point().phase() =>
            {
                let result = self.sink.flush();
                self.settle(result, state)
            }
            _ => Ok(()),
        }
    }

    /// Turns a failure into an error, or into a notice the first time, as configured.
    fn settle(&mut self, result: Result<(), BoxError>, state: &mut State) -> Result<(), BoxError> {
        let Err(cause) = result else { return Ok(()) };
        if self.on_failure == OnFailure::Error {
            return Err(cause);
        }
        let is_first = !std::mem::replace(&mut self.failing, true);
        if is_first || cause.downcast_ref::<Failures>().is_some_and(|failures| failures.has_new) {
            state.notify(failure_notice(&*cause, self.sink.keeps_records()));
        }
        Ok(())
    }
}

/// The notice of a log that begins to fail.
pub(super) fn failure_notice(cause: &(dyn std::error::Error + 'static), keeps_records: bool) -> String {
    let effect = if keeps_records { "wait for it" } else { "are missing in it" };
    format!("{}; until then, metrics {effect}", WithCauses(cause))
}

impl<U: ?Sized, S: MetricSink> Callback<U> for MetricLog<S> {
    fn name(&self) -> Cow<'static, str> {
        self.sink.name()
    }

    fn events(&self) -> Events {
        Events::of(&[
            Event::TrainStart,
            Event::TrainStepEnd,
            Event::TrainEpochEnd,
            Event::TrainEnd,
            Event::EvalStart,
            Event::EvalStepEnd,
            Event::EvalEpochEnd,
            Event::EvalEnd,
            Event::PredictStart,
            Event::PredictStepEnd,
            Event::PredictEpochEnd,
            Event::PredictEnd,
        ])
    }

    fn metrics_every(&self) -> Every {
        self.every
    }

    fn writes_down(&self) -> bool {
        true
    }

    fn ranks(&self) -> Ranks {
        Ranks::First
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        self.sink.stateful()
    }

    fn before_commit(&mut self) -> Option<BeforeCommit> {
        let flush = self.sink.flush_later().unwrap_or_else(|cause| Some(Box::new(|| Err(cause))))?;
        let (unsaved, on_failure) = (Arc::clone(&self.unsaved), self.on_failure);
        Some(Box::new(move || {
            let Err(cause) = flush() else { return Ok(()) };
            let text = WithCauses(&*cause).to_string();
            locked(&unsaved).get_or_insert(cause);
            if on_failure == OnFailure::Error { Err(text.into()) } else { Ok(()) }
        }))
    }

    fn on_event(&mut self, event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        let unsaved = locked(&self.unsaved).take();
        if let Some(unsaved) = unsaved {
            self.settle(Err(unsaved), state)?;
        }
        let result = self.write_event(event, state);
        if let Some(notice) = self.sink.notice() {
            state.notify(notice);
        }
        result
    }

    fn on_error(&mut self, state: &State, _unit: &mut U, error: &Error) {
        // The error of the run is the one that matters.
        if state.entry_point().phase() == Phase::Train {
            let _ = self.sink.end(Err(error));
        }
        let _ = self.sink.flush();
    }

    fn sum_up(&mut self, report: &mut Report) {
        // The run is over and saved: a log without its last word is no error of it.
        let unsaved = locked(&self.unsaved).take();
        for cause in unsaved.into_iter().chain(self.sink.end(Ok(report)).err()) {
            report.notices.push(WithCauses(&*cause).to_string());
        }
        report.notices.extend(self.sink.notice());
    }
}

/// Takes the lock, also after a panic: each value is written at once.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: fmt::Debug> fmt::Debug for MetricLog<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricLog")
            .field("sink", &self.sink)
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}
