//! A log with several destinations.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::{fmt, mem};

use super::metric_log::{failure_notice, locked};
use super::{Flush, MediaRecord, MetricLog, MetricSink, OnFailure, Record};
use crate::error::WithCauses;
use crate::run::Report;
use crate::saved::{StateDict, Stateful};
use crate::state::{EntryPoint, HyperParameters};
use crate::{BoxError, Error};

/// Several destinations of one log: the sink of [`MetricLog::fan_out`].
///
/// Each destination gets every record, in the order in which they were added, even if another one fails.
/// The errors of one moment are one error, with the name of each log. A log whose policy is
/// [`OnFailure::Notice`], as that of MLflow is by default, keeps it: its failures are notices. A checkpoint
/// holds the state of each under its name: a log that a restored run has in addition begins anew, with a notice.
#[derive(Default)]
pub struct FanOut {
    logs: Vec<Destination>,
    /// Logs without a saved state.
    new: Vec<String>,
    /// Also those of the thread that writes checkpoints.
    notices: Arc<Mutex<Vec<String>>>,
    /// Whether all that failed last keep their records.
    keeps_records: bool,
}

struct Destination {
    /// In a cell, because the state of a sink is only reached through a mutable reference.
    sink: RefCell<Box<dyn MetricSink>>,
    on_failure: OnFailure,
    is_failing: bool,
}

/// The failures of several destinations.
#[derive(Debug)]
pub(super) struct Failures {
    text: String,
    /// Whether one of them did not fail before.
    pub(super) has_new: bool,
}

impl MetricLog<FanOut> {
    /// Writes to several logs, with one cadence and one filter.
    ///
    /// ```
    /// # use regimen::Run;
    /// # use regimen::callback::Every;
    /// # use regimen::log::MetricLog;
    /// # fn example<U>(run: Run<'_, U>) -> Run<'_, U> {
    /// let log = MetricLog::fan_out()
    ///     .and(MetricLog::csv("runs/digits/metrics.csv"))
    ///     .and(MetricLog::tensorboard("runs/digits"))
    ///     .every(Every::steps(100).or(Every::epochs(1)))
    ///     .only(|name| name != "train/step_seconds");
    /// run.callback(log)
    /// # }
    /// ```
    pub fn fan_out() -> Self {
        MetricLog::to(FanOut::default())
    }

    /// Adds the destination of `log`, with its policy for failures. The cadence and the filter of `log` itself do
    /// not count.
    pub fn and<S: MetricSink + 'static>(mut self, log: MetricLog<S>) -> Self {
        let (sink, on_failure) = (RefCell::new(Box::new(log.sink) as _), log.on_failure);
        self.sink.logs.push(Destination { sink, on_failure, is_failing: false });
        self
    }
}

impl FanOut {
    /// Calls `call` with each sink, and settles failures by the policy of the log.
    fn each(
        &mut self,
        mut call: impl FnMut(&mut dyn MetricSink) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        let (mut texts, mut has_new, mut keeps_records) = (Vec::new(), false, true);
        for Destination { sink, on_failure, is_failing } in &mut self.logs {
            let sink = &mut **sink.get_mut();
            let Err(cause) = call(sink) else { continue };
            let cause = of_log(&sink.name(), cause);
            let is_new = !mem::replace(is_failing, true);
            match on_failure {
                OnFailure::Error => {
                    (has_new, keeps_records) = (has_new || is_new, keeps_records && sink.keeps_records());
                    texts.push(cause.to_string());
                }
                OnFailure::Notice if is_new => {
                    locked(&self.notices).push(failure_notice(&*cause, sink.keeps_records()));
                }
                OnFailure::Notice => {}
            }
        }
        if texts.is_empty() {
            return Ok(());
        }
        self.keeps_records = keeps_records;
        Err(Box::new(Failures { text: texts.join("; "), has_new }))
    }

    /// Calls `call` with each state and its name, which is that of the log and a number.
    fn each_state(
        &self,
        mut call: impl FnMut(&str, &mut dyn Stateful) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        let mut names: Vec<String> = Vec::new();
        for Destination { sink, .. } in &self.logs {
            let mut sink = sink.try_borrow_mut()?;
            names.push(sink.name().into_owned());
            let (name, n) = (sink.name(), names.iter().filter(|name| **name == *sink.name()).count());
            let name = format!("{name} {n}");
            let Some(state) = sink.stateful() else { continue };
            call(&name, state).map_err(|cause| format!("{name}: {}", WithCauses(&*cause)))?;
        }
        Ok(())
    }
}

impl MetricSink for FanOut {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("MetricLog(fan-out)")
    }

    fn open(&mut self, entry: EntryPoint) -> Result<(), BoxError> {
        self.each(|sink| sink.open(entry))
    }

    fn notice(&mut self) -> Option<String> {
        let new = self.new.drain(..).map(|name| format!("log {name} begins anew: no state of it was saved"));
        let failed = mem::take(&mut *locked(&self.notices));
        let told = self.logs.iter_mut().filter_map(|log| log.sink.get_mut().notice());
        let notices: Vec<_> = new.chain(failed).chain(told).collect();
        if notices.is_empty() { None } else { Some(notices.join("; ")) }
    }

    fn keeps_records(&self) -> bool {
        self.keeps_records
    }

    fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError> {
        let mut written = Vec::new();
        let result = self.each(|sink| {
            let result = sink.write(records);
            written.push(result.is_ok());
            result
        });
        for (log, is_written) in self.logs.iter_mut().zip(written) {
            log.is_failing &= !is_written;
        }
        result
    }

    fn write_media(&mut self, record: &MediaRecord<'_>) -> Result<(), BoxError> {
        self.each(|sink| sink.write_media(record))
    }

    fn write_hyper_parameters(&mut self, settings: &HyperParameters) -> Result<(), BoxError> {
        self.each(|sink| sink.write_hyper_parameters(settings))
    }

    fn end(&mut self, outcome: Result<&Report, &Error>) -> Result<(), BoxError> {
        // The last word of a log is told even if it failed before.
        let ended = self.logs.iter_mut().map(|log| {
            let sink = log.sink.get_mut();
            sink.end(outcome).map_err(|cause| of_log(&sink.name(), cause).to_string())
        });
        let texts: Vec<_> = ended.filter_map(Result::err).collect();
        joined(texts)
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        self.each(|sink| sink.flush())
    }

    fn flush_later(&mut self) -> Result<Option<Flush>, BoxError> {
        let mut flushes = Vec::new();
        for Destination { sink, on_failure, .. } in &mut self.logs {
            let sink = &mut **sink.get_mut();
            let flush = sink.flush_later().unwrap_or_else(|cause| Some(Box::new(|| Err(cause))));
            flushes.extend(flush.map(|flush| (sink.name().into_owned(), *on_failure, flush)));
        }
        let notices = Arc::clone(&self.notices);
        Ok(Some(Box::new(move || {
            let mut texts = Vec::new();
            for (name, on_failure, flush) in flushes {
                let Err(cause) = flush() else { continue };
                let text = of_log(&name, cause).to_string();
                match on_failure {
                    OnFailure::Error => texts.push(text),
                    OnFailure::Notice => locked(&notices).push(text),
                }
            }
            joined(texts)
        })))
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

/// The state of each log by its name.
impl Stateful for FanOut {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut all = StateDict::new();
        self.each_state(|name, state| {
            all.insert(format!("{name}.has_state"), 1_u8)?;
            all.insert_all(&format!("{name}.state"), state.state_dict()?)
        })?;
        Ok(all)
    }

    fn load_state_dict(&mut self, all: &StateDict) -> Result<(), BoxError> {
        let mut new = Vec::new();
        self.each_state(|name, state| match saved(all, name) {
            Some(dict) => state.load_state_dict(&dict),
            None => {
                new.push(name.to_owned());
                Ok(())
            }
        })?;
        self.new = new;
        Ok(())
    }

    fn check_state_dict(&self, all: &StateDict) -> Result<(), BoxError> {
        self.each_state(|name, state| saved(all, name).map_or(Ok(()), |dict| state.check_state_dict(&dict)))
    }
}

fn saved(all: &StateDict, name: &str) -> Option<StateDict> {
    all.contains(&format!("{name}.has_state")).then(|| all.under(&format!("{name}.state")))
}

/// The failure of the log `name`.
fn of_log(name: &str, cause: BoxError) -> BoxError {
    format!("{name}: {}", WithCauses(&*cause)).into()
}

/// One error of all `texts`, if there are any.
fn joined(texts: Vec<String>) -> Result<(), BoxError> {
    if texts.is_empty() { Ok(()) } else { Err(texts.join("; ").into()) }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failures {}

impl fmt::Debug for FanOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.logs.iter().filter_map(|log| Some(log.sink.try_borrow().ok()?.name()));
        f.debug_list().entries(names).finish()
    }
}
