//! A log with several destinations.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use super::{Flush, MediaRecord, MetricLog, MetricSink, Record};
use crate::error::WithCauses;
use crate::run::Report;
use crate::saved::{StateDict, Stateful};
use crate::state::{EntryPoint, HyperParameters};
use crate::{BoxError, Error};

/// Several destinations of one log: the sink of [`MetricLog::fan_out`].
///
/// Each destination gets every record, in the order in which they were added, even if another one fails.
/// The errors of one moment are one error, with the name of each log. A checkpoint holds the state of each
/// under its name: a log that a restored run has in addition begins anew, with a notice.
#[derive(Default)]
pub struct FanOut {
    /// In cells, because the state of a sink is only reached through a mutable reference.
    sinks: Vec<RefCell<Box<dyn MetricSink>>>,
    /// Logs without a saved state.
    new: Vec<String>,
    /// Whether all that failed last keep their records.
    keeps_records: bool,
}

impl MetricLog<FanOut> {
    /// Writes to several logs, with one cadence, one filter and one policy for failures.
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

    /// Adds the destination of `log`. The cadence, the filter and the policy of `log` itself do not count.
    pub fn and<S: MetricSink + 'static>(mut self, log: MetricLog<S>) -> Self {
        self.sink.sinks.push(RefCell::new(Box::new(log.sink)));
        self
    }
}

impl FanOut {
    fn each(
        &mut self,
        mut call: impl FnMut(&mut dyn MetricSink) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        let (mut failures, mut keeps_records) = (Vec::new(), true);
        for sink in self.sinks.iter_mut().map(RefCell::get_mut) {
            if let Err(cause) = call(&mut **sink) {
                failures.push(format!("{}: {}", sink.name(), WithCauses(&*cause)));
                keeps_records &= sink.keeps_records();
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        self.keeps_records = keeps_records;
        Err(failures.join("; ").into())
    }

    /// Calls `call` with each state and its name, which is that of the log and a number.
    fn each_state(
        &self,
        mut call: impl FnMut(&str, &mut dyn Stateful) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        let mut names: Vec<String> = Vec::new();
        for sink in &self.sinks {
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
        let told = self.sinks.iter_mut().filter_map(|sink| sink.get_mut().notice());
        let notices: Vec<_> = new.chain(told).collect();
        if notices.is_empty() { None } else { Some(notices.join("; ")) }
    }

    fn keeps_records(&self) -> bool {
        self.keeps_records
    }

    fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError> {
        self.each(|sink| sink.write(records))
    }

    fn write_media(&mut self, record: &MediaRecord<'_>) -> Result<(), BoxError> {
        self.each(|sink| sink.write_media(record))
    }

    fn write_hyper_parameters(&mut self, settings: &HyperParameters) -> Result<(), BoxError> {
        self.each(|sink| sink.write_hyper_parameters(settings))
    }

    fn end(&mut self, outcome: Result<&Report, &Error>) -> Result<(), BoxError> {
        self.each(|sink| sink.end(outcome))
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        self.each(|sink| sink.flush())
    }

    fn flush_later(&mut self) -> Result<Option<Flush>, BoxError> {
        let mut flushes: Vec<Flush> = Vec::new();
        let begun = self.each(|sink| {
            flushes.extend(sink.flush_later()?);
            Ok(())
        });
        Ok(Some(Box::new(|| flushes.into_iter().map(|flush| flush()).fold(begun, Result::and))))
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

impl fmt::Debug for FanOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.sinks.iter().filter_map(|sink| Some(sink.try_borrow().ok()?.name()));
        f.debug_list().entries(names).finish()
    }
}
