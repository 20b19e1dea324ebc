//! The callback that writes metrics down.

use std::borrow::Cow;
use std::path::PathBuf;

use super::format::Format;
use super::{Existing, LogFile, MetricSink, Record};
use crate::callback::{Event, Events, Every};
use crate::metric::Metric;
use crate::saved::Stateful;
use crate::state::{Phase, Progress};
use crate::{BoxError, Callback, Error, State};

/// Writes metrics to a [`MetricSink`]: those of single training steps at a cadence, and those over
/// every epoch.
///
/// At a step it writes the metrics logged in that step, and asks for them through
/// [`State::wants_metrics`]; at the end of an epoch, of any phase, those logged in that epoch. A key
/// that is first logged late is a new name, and no error. Among several ranks only the first
/// writes.
#[derive(Debug)]
pub struct MetricLog<S> {
    sink: S,
    every: Every,
    on_failure: Failure,
    /// Where training stood when it was last looked at.
    seen: Progress,
    failing: bool,
    /// What a flush before a checkpoint met; it is returned at the next event.
    unsaved: Option<BoxError>,
}

/// What a log that cannot be written does to the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failure {
    /// Ends it with the error.
    #[default]
    Error,
    /// Tells it as a [notice](State::notices) and lets the run go on. What is measured meanwhile is
    /// not in the log; writing is tried again each time.
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

    /// What becomes of a file of an earlier run; [`Existing::Rename`] by default.
    pub fn existing(mut self, existing: Existing) -> Self {
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
            on_failure: Failure::default(),
            seen: Progress::default(),
            failing: false,
            unsaved: None,
        }
    }

    /// How often it writes: steps and updates count training, epochs those of each phase. Every 10
    /// steps and every epoch by default.
    pub fn every(mut self, every: Every) -> Self {
        self.every = every;
        self
    }

    /// What a log that cannot be written does to the run; [`Failure::Error`] by default.
    pub fn on_failure(mut self, on_failure: Failure) -> Self {
        self.on_failure = on_failure;
        self
    }

    fn write_step(&mut self, state: &mut State) -> Result<(), BoxError> {
        let (before, now) =
            (std::mem::replace(&mut self.seen, state.train_progress()), state.train_progress());
        if !self.every.due_after_step(before, now) {
            return Ok(());
        }
        // What was logged during the step was logged when it was not counted yet.
        let of_this_step =
            |metric: &&Metric| metric.weight() > 0.0 && metric.logged_at() >= now.steps.saturating_sub(1);
        let metrics = state.metrics(Phase::Train).iter().filter(of_this_step);
        let records: Vec<_> =
            metrics.map(|metric| record(state, None, metric, metric.last_value())).collect();
        let result = self.write(&records);
        self.settle(result, state)
    }

    fn write_epoch(&mut self, phase: Phase, state: &mut State) -> Result<(), BoxError> {
        let progress = state.progress_of(phase);
        if !self.every.due_after_epoch(progress) {
            return Ok(());
        }
        let of_epoch = Some((phase, progress.epochs));
        let of_metric = |metric| Some(record(state, of_epoch, metric, metric.in_epoch(progress.epochs)?));
        let records: Vec<_> = state.metrics(phase).iter().filter_map(of_metric).collect();
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

    /// Makes a failure what was asked for: an error, or a notice the first time.
    fn settle(&mut self, result: Result<(), BoxError>, state: &mut State) -> Result<(), BoxError> {
        let Err(cause) = result else { return Ok(()) };
        if self.on_failure == Failure::Error {
            return Err(cause);
        }
        if !std::mem::replace(&mut self.failing, true) {
            state.notify(format!("{cause}; until then, metrics are missing in it"));
        }
        Ok(())
    }
}

/// A value of a step, or over an epoch of a phase.
fn record<'a>(state: &State, epoch: Option<(Phase, u64)>, metric: &'a Metric, value: f64) -> Record<'a> {
    let phase = epoch.map_or(Phase::Train, |(phase, _)| phase);
    let epoch = epoch.map(|(_, epoch)| epoch);
    Record { step: state.train_progress().steps, phase, name: metric.key().name(), value, epoch }
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
            Event::EvalEpochEnd,
            Event::EvalEnd,
            Event::PredictStart,
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

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        if let Err(cause) = self.sink.flush() {
            self.unsaved.get_or_insert(cause);
        }
        self.sink.stateful()
    }

    fn on_event(&mut self, event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        if state.rank().index != 0 {
            return Ok(());
        }
        if let Some(unsaved) = self.unsaved.take() {
            self.settle(Err(unsaved), state)?;
        }
        match event {
            Event::TrainStepEnd => self.write_step(state),
            Event::TrainEpochEnd => self.write_epoch(Phase::Train, state),
            Event::EvalEpochEnd => self.write_epoch(Phase::Eval, state),
            Event::PredictEpochEnd => self.write_epoch(Phase::Predict, state),
            Event::TrainEnd | Event::EvalEnd | Event::PredictEnd => {
                let result = self.sink.flush();
                self.settle(result, state)
            }
            _ => {
                self.seen = state.train_progress();
                let result = self.sink.open(state.entry_point());
                if let Some(notice) = self.sink.notice() {
                    state.notify(notice);
                }
                self.settle(result, state)
            }
        }
    }

    fn on_error(&mut self, _state: &State, _unit: &mut U, _error: &Error) {
        // The error told here is the one that matters.
        let _ = self.sink.flush();
    }
}
