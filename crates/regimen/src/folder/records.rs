//! The callback that writes what is no metric.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::environment::Environment;
use crate::callback::{Event, Events, Ranks};
use crate::error::ErrorKind;
use crate::replace_file::replace_file;
use crate::run::Report;
use crate::state::{HyperParameter, HyperParameters};
use crate::time::{since_1970, utc};
use crate::{BoxError, Callback, Error, State};

/// Writes the environment and the hyper-parameters when training starts, and a history of notices,
/// reports and errors.
#[derive(Debug)]
pub(super) struct Records {
    dir: PathBuf,
    pub(super) environment: bool,
    pub(super) notices: bool,
    step: u64,
    /// Whether training has started, so that the folder is known to be that of the run.
    has_begun: bool,
    is_failing: bool,
}

impl Records {
    pub(super) fn new(dir: PathBuf) -> Self {
        Records { dir, environment: true, notices: true, step: 0, has_begun: false, is_failing: false }
    }

    fn begin(&mut self, state: &State) -> Result<(), BoxError> {
        self.has_begun = true;
        fs::create_dir_all(&self.dir)
            .map_err(|cause| format!("cannot create {}: {cause}", self.dir.display()))?;
        if self.environment {
            let mut line = serde_json::to_vec(&Environment::now(state))?;
            line.push(b'\n');
            self.append("environment.jsonl", &line)?;
        }
        if !state.hyper_parameters().is_empty() {
            self.replace("hyper_parameters.json", &json(state.hyper_parameters())?)?;
        }
        Ok(())
    }

    /// Adds lines to `log.txt`.
    fn note(&mut self, text: &str) -> Result<(), BoxError> {
        if !self.notices {
            return Ok(());
        }
        let time = utc(since_1970());
        self.append("log.txt", format!("{time} step {}: {text}\n", self.step).as_bytes())
    }

    fn append(&self, file: &str, bytes: &[u8]) -> Result<(), BoxError> {
        let path = self.dir.join(file);
        let written = append(&path, bytes);
        written.map_err(|cause| format!("cannot write {}: {cause}", path.display()).into())
    }

    fn replace(&self, file: &str, bytes: &[u8]) -> Result<(), BoxError> {
        let path = self.dir.join(file);
        let written = replace_file(&path, bytes);
        written.map_err(|cause| format!("cannot write {}: {cause}", path.display()).into())
    }

    /// A record that cannot be written ends no run: the first is a notice.
    fn settle(&mut self, written: Result<(), BoxError>, state: &mut State) {
        if let Err(cause) = written
            && !std::mem::replace(&mut self.is_failing, true)
        {
            state.notify(cause.to_string());
        }
    }
}

/// Adds lines to the end of a file: all of them or, if it returns an error, none.
fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().append(true).create(true).open(path)?;
    let length = file.metadata()?.len();
    file.write_all(bytes).inspect_err(|_| drop(file.set_len(length)))
}

fn json(settings: &HyperParameters) -> Result<Vec<u8>, BoxError> {
    let value = |value: &HyperParameter| match value {
        HyperParameter::Bool(value) => (*value).into(),
        HyperParameter::Integer(value) => (*value).into(),
        HyperParameter::Float(value) if value.is_finite() => (*value).into(),
        other => serde_json::Value::String(other.to_string()),
    };
    let all: serde_json::Map<_, _> = settings.iter().map(|(name, of)| (name.to_owned(), value(of))).collect();
    let mut bytes = serde_json::to_vec_pretty(&all)?;
    bytes.push(b'\n');
    Ok(bytes)
}

impl<U: ?Sized> Callback<U> for Records {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("RunFolder")
    }

    fn events(&self) -> Events {
        Events::of(&[Event::TrainStart, Event::TrainEnd, Event::Notice])
    }

    fn ranks(&self) -> Ranks {
        Ranks::First
    }

    fn on_event(&mut self, event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        self.step = state.train_progress().steps;
        let written = match event {
            Event::TrainStart => self.begin(state),
            Event::Notice => state.notices().iter().try_for_each(|notice| self.note(notice)),
            _ => Ok(()),
        };
        self.settle(written, state);
        Ok(())
    }

    fn on_error(&mut self, state: &State, _unit: &mut U, error: &Error) {
        self.step = state.train_progress().steps;
        if !self.has_begun && *error.kind() == ErrorKind::State {
            // The saver has refused the folder: its history is that of another run.
            return;
        }
        // The error of the run is the one that matters.
        let _ = self.note(&format!("error: {error:#}"));
    }

    fn sum_up(&mut self, report: &mut Report) {
        if let Err(cause) = self.note(&report.to_string())
            && !std::mem::replace(&mut self.is_failing, true)
        {
            report.notices.push(cause.to_string());
        }
    }
}
