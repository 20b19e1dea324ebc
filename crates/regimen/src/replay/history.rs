//! The records of a run folder about one step.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use regimen_core::error::WithCauses;
use regimen_core::run::{Moment, Restored};
use regimen_core::{BoxError, Error, State};
use serde::Deserialize;

use super::{Comparison, FlightStep, Replayed};
use crate::callback::Flight;
use crate::checkpoint::{Checkpoint, Checkpoints, RUN};
use crate::folder::{FLIGHT, METRICS};
use crate::log::Number;

/// The state from which a step is made again, and the records of it.
pub(super) struct History {
    dir: PathBuf,
    step: u64,
    seed: Option<u64>,
    /// The newest whole checkpoint before the step.
    pub(super) checkpoint: Option<Checkpoint>,
    /// Damaged ones.
    skipped: Vec<String>,
    flight: Option<Flight>,
    logged: BTreeMap<String, f64>,
}

impl History {
    /// Reads the folder `dir`, of which step `step` is to be made again.
    pub(super) fn before(dir: &Path, step: u64) -> Result<Self, BoxError> {
        if step == 0 {
            return Err("`Replay::of`: the first step is 1, not 0".into());
        }
        let listing = Checkpoints::in_dir(dir).list()?;
        let saved: Vec<_> =
            listing.checkpoints.into_iter().filter(|found| found.manifest().resumable).collect();
        let (flight, logged) = (Flight::read(dir.join(FLIGHT))?, logged(&dir.join(METRICS), step)?);
        if saved.is_empty() && flight.is_none() && logged.is_empty() {
            return Err(format!("`{}` has no checkpoint and no record of step {step}", dir.display()).into());
        }
        let seed = saved.iter().find_map(seed_of).or(flight.as_ref().map(|flight| flight.seed));
        let mut skipped = listing.skipped.iter().map(ToString::to_string).collect();
        let checkpoint = nearest(saved, step, &mut skipped);
        Ok(History { dir: dir.to_owned(), step, seed, checkpoint, skipped, flight, logged })
    }

    /// Whether a run in this state can make the step again.
    pub(super) fn check(&self, state: &State) -> Result<(), BoxError> {
        let (dir, step, seed) = (self.dir.display(), self.step, state.seed());
        if state.rank().count != 1 {
            return Err("`Replay`: not among several ranks; make the step again on one".into());
        }
        if let Some(saved) = self.seed.filter(|&saved| saved != seed) {
            return Err(format!(
                "`{dir}` is of the seed {saved}, and this run has {seed}; give it `seed({saved})`"
            )
            .into());
        }
        if self.checkpoint.is_none() && state.train_progress().steps > 0 {
            return Err(format!(
                "`{dir}` has no whole checkpoint before step {step}, and this run has begun: give one that has not"
            )
            .into());
        }
        Ok(())
    }

    /// Compares the step that was made again with its records.
    pub(super) fn compare(
        self,
        made: FlightStep,
        from: Option<Restored>,
        error: Option<Error>,
    ) -> Result<Replayed, BoxError> {
        let is_it =
            |step: &FlightStep| (step.step, step.epoch, step.batch) == (made.step, made.epoch, made.batch);
        let steps = self.flight.map(|flight| flight.steps).unwrap_or_default();
        let recorded = steps.into_iter().rev().find(is_it);
        let in_flight = recorded.iter().flat_map(|step| &step.metrics).map(|of| (FLIGHT, of));
        let in_log = self.logged.iter().map(|of| (METRICS, of));
        let comparison = |(file, (metric, &recorded)): (&'static str, (&String, &f64))| {
            let replayed = *made.metrics.get(metric)?;
            Some(Comparison { metric: metric.clone(), file, recorded, replayed })
        };
        let compared = in_log.chain(in_flight).filter_map(comparison).collect();
        Ok(Replayed { step: made, from, skipped: self.skipped, error, recorded, compared })
    }
}

/// The nearest whole checkpoint before `step`, of those of a run from the newest save on.
fn nearest(saved: Vec<Checkpoint>, step: u64, skipped: &mut Vec<String>) -> Option<Checkpoint> {
    let mut later = u64::MAX;
    for checkpoint in saved {
        let at = checkpoint.manifest().step;
        // The run went back to an earlier step after that save: its way from there on was another.
        if later <= at {
            continue;
        }
        later = at;
        if at < step {
            match checkpoint.verify() {
                Ok(()) => return Some(checkpoint),
                Err(cause) => skipped.push(WithCauses(&cause).to_string()),
            }
        }
    }
    None
}

fn seed_of(checkpoint: &Checkpoint) -> Option<u64> {
    let saved = checkpoint.read(RUN).ok()?;
    Some(Moment::saved_state(&saved).ok()?.seed())
}

/// The metrics of a training step in a log in JSON lines, which need not exist. A last line that is not whole is being
/// written.
fn logged(path: &Path, step: u64) -> Result<BTreeMap<String, f64>, BoxError> {
    #[derive(Deserialize)]
    struct Logged {
        step: u64,
        phase: String,
        name: String,
        value: Number,
        epoch: Option<u64>,
    }
    let fail = |cause: BoxError| -> BoxError { format!("cannot read {}: {cause}", path.display()).into() };
    let mut found = BTreeMap::new();
    let mut file = match File::open(path) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(found),
        opened => BufReader::new(opened.map_err(|cause| fail(cause.into()))?),
    };
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        file.read_line(&mut line).map_err(|cause| fail(cause.into()))?;
        if !line.ends_with('\n') {
            break;
        }
        let logged: Logged =
            serde_json::from_str(&line).map_err(|cause| fail(format!("line {number}: {cause}").into()))?;
        if (logged.step, &*logged.phase, logged.epoch) == (step, "train", None) {
            found.insert(logged.name, logged.value.0);
        }
    }
    Ok(found)
}
