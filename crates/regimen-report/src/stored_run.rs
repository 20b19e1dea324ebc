//! The content of a run folder.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use regimen::BoxError;
use regimen::checkpoint::{Checkpoint, Checkpoints, Listing};
use regimen::text::Count;
use serde_json::Value;

use crate::event_files::EventFiles;
use crate::find_runs::{FILES_OF_RUN, is_run};
use crate::history::History;
use crate::metrics_file::MetricsFile;
use crate::{Curve, Marks, Notice, Picture, RunState, lines};

/// The content of a [run folder](regimen::folder::RunFolder). A file that is missing leaves its part empty.
///
/// A part that is damaged is no error either: it is left out, and [`damage`](StoredRun::damage) says so.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredRun {
    /// Its folder.
    pub folder: PathBuf,
    /// Its state.
    pub state: RunState,
    /// Training steps made, by its metrics, checkpoints and history.
    pub step: u64,
    /// Its metrics, in the order of their keys.
    pub curves: Vec<Curve>,
    /// Epochs, samples and seconds by steps.
    pub axes: Axes,
    /// Hyper-parameters by name.
    pub hyper_parameters: BTreeMap<String, Value>,
    /// A JSON object per start, oldest first: time, versions, machine, command line, git commit. At most the newest 50.
    pub environment: Vec<Value>,
    /// Notices, reports and errors, oldest first. At most the newest 500.
    pub notices: Vec<Notice>,
    /// Number of older notices.
    pub older_notices: u64,
    /// Its checkpoints, newest first. At most 200.
    pub checkpoints: Vec<SavedPoint>,
    /// The newest picture per name. At most 8 MiB.
    pub pictures: Vec<Picture>,
    /// The text of `summary.txt`: that of a [`Summary`](regimen::summary::Summary), if the program writes it there.
    pub summary: Option<String>,
    /// The content of `profile.json`: the times of parts of the run.
    pub profile: Option<Value>,
    /// The content of `flight.json`: the last steps before an error or a pause.
    pub flight: Option<Value>,
    /// A sentence per part of the folder that is damaged.
    pub damage: Vec<String>,
}

/// Other counts by training steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Axes {
    /// Completed epochs, by the epochs in the log.
    pub epochs: Marks,
    /// Samples, by the metric `progress/samples`, else by the checkpoints.
    pub samples: Marks,
    /// Seconds of training without pauses, by the event files of TensorBoard, else by starts and notices.
    pub seconds: Marks,
}

/// A checkpoint in a run folder.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedPoint {
    /// The name of its folder.
    pub name: String,
    /// Completed training steps.
    pub step: u64,
    /// Completed training epochs.
    pub epoch: u64,
    /// Whether a run may go on from it. One that was saved on an error is for the post-mortem only.
    pub resumable: bool,
    /// The bytes of its parts.
    pub bytes: u64,
    /// The metrics of its step.
    pub metrics: BTreeMap<String, f64>,
}

/// The most checkpoints that are kept.
const MOST_CHECKPOINTS: usize = 200;
/// The largest `summary.txt`, `hyper_parameters.json`, `profile.json` and `flight.json` that is read.
const LARGEST: u64 = 1 << 20;
/// The bytes of pictures that are kept.
const MOST_PICTURES: usize = 8 << 20;

impl StoredRun {
    /// Reads `folder`. A folder that is missing or [is no run](is_run) is an error.
    pub fn read(folder: impl Into<PathBuf>) -> Result<Self, BoxError> {
        Self::read_with(folder.into(), MOST_PICTURES)
    }

    /// [Reads](StoredRun::read) `folder` without its pictures.
    pub fn without_pictures(folder: impl Into<PathBuf>) -> Result<Self, BoxError> {
        Self::read_with(folder.into(), 0)
    }

    /// At most `room` bytes of pictures.
    fn read_with(folder: PathBuf, room: usize) -> Result<Self, BoxError> {
        check_run(&folder)?;
        let mut damage = Vec::new();
        let history = part("log.txt or environment.jsonl", History::read(&folder), &mut damage);
        let events = part("tensorboard", EventFiles::read(&folder.join("tensorboard"), room), &mut damage);
        let metrics = lines::open(&folder.join("metrics.jsonl")).and_then(|file| match file {
            Some(file) => MetricsFile::read(BufReader::with_capacity(1 << 16, file)),
            None => Ok(MetricsFile::default()),
        });
        let metrics = part("metrics.jsonl", metrics, &mut damage);

        let mut run = StoredRun {
            state: RunState::of(&history),
            step: metrics.step,
            axes: Axes {
                seconds: if events.elapsed.last().is_some() { events.elapsed } else { history.elapsed() },
                ..Axes::default()
            },
            hyper_parameters: BTreeMap::new(),
            environment: history.starts.into(),
            notices: history.notices.into(),
            older_notices: history.older,
            checkpoints: Vec::new(),
            pictures: events.pictures,
            summary: None,
            profile: None,
            flight: None,
            damage,
            curves: metrics.curves,
            folder,
        };
        metrics.epochs.iter().for_each(|&(step, epoch)| run.axes.epochs.push(step, epoch as f64));
        if metrics.damaged > 0 {
            run.damage.push(format!("metrics.jsonl: {} cannot be read", Count(metrics.damaged, "line")));
        }
        if metrics.is_torn && run.state != RunState::Running {
            run.damage.push("metrics.jsonl: the last line is torn".to_owned());
        }
        if events.lacks_pictures && room > 0 {
            run.damage.push("tensorboard: pictures left out, as they are larger than 8 MiB".to_owned());
        }
        if history.damaged > 0 {
            let count = Count(history.damaged, "line");
            run.damage.push(format!("log.txt and environment.jsonl: {count} cannot be read"));
        }
        for curve in run.curves.iter().filter(|curve| curve.dropped() > 0) {
            let (count, name) = (Count(curve.dropped(), "value"), &curve.key().name);
            let lost = match curve.lost() {
                0 => String::new(),
                lost => format!(", with at most {lost} of the steps before"),
            };
            run.damage.push(format!(
                "metrics.jsonl: {count} of {name} replaced by later ones of the same steps{lost}"
            ));
        }
        run.read_checkpoints();
        run.read_samples();
        if let Some(Value::Object(settings)) = run.json("hyper_parameters.json") {
            run.hyper_parameters = settings.into_iter().collect();
        }
        run.profile = run.json("profile.json");
        run.flight = run.json("flight.json");
        run.summary = run.text("summary.txt");
        run.step = run.notices.last().map_or(run.step, |notice| run.step.max(notice.step));
        Ok(run)
    }

    /// Epochs of training that ended, by the log and the checkpoints.
    pub fn epochs(&self) -> Option<u64> {
        let logged = self.axes.epochs.last().map(|epoch| epoch as u64);
        logged.max(self.checkpoints.iter().map(|saved| saved.epoch).max())
    }

    /// The curve of the metric `name`: in the phase `train`, else in `eval`, else in `predict`. Of one phase, it is that of
    /// steps, else that over epochs; the other way around if `over_epochs`.
    pub fn curve(&self, name: &str, over_epochs: bool) -> Option<&Curve> {
        let named = self.curves.iter().filter(|curve| curve.key().name == name);
        named.min_by_key(|curve| {
            let key = curve.key();
            let phase = ["train", "eval", "predict"].iter().position(|phase| key.phase == *phase);
            (phase.unwrap_or(usize::MAX), key.per_epoch != over_epochs)
        })
    }

    fn read_checkpoints(&mut self) {
        let Listing { checkpoints, skipped } = match Checkpoints::in_dir(&self.folder).list() {
            Ok(listing) => listing,
            Err(cause) => return self.damage.push(cause.to_string()),
        };
        let damaged = skipped.iter().map(|skipped| skipped.reason.to_string());
        self.damage.extend(damaged);
        if MOST_CHECKPOINTS < checkpoints.len() {
            let more = Count((checkpoints.len() - MOST_CHECKPOINTS) as u64, "checkpoint");
            self.damage.push(format!("{more} of the oldest left out"));
        }
        // Newest first.
        for checkpoint in checkpoints.iter().take(MOST_CHECKPOINTS) {
            let manifest = checkpoint.manifest();
            self.step = self.step.max(manifest.step);
            let name = checkpoint.path().file_name().unwrap_or(checkpoint.path().as_os_str());
            self.checkpoints.push(SavedPoint {
                name: name.to_string_lossy().into_owned(),
                step: manifest.step,
                epoch: manifest.epoch,
                resumable: manifest.resumable,
                bytes: manifest.parts.values().map(|part| part.length).sum(),
                metrics: manifest.metrics.clone(),
            });
        }
    }

    fn read_samples(&mut self) {
        let logged = self.curve("progress/samples", false).filter(|curve| !curve.key().per_epoch);
        if let Some(buckets) = logged.map(|curve| curve.buckets().to_vec()) {
            for bucket in buckets.iter().filter(|bucket| bucket.has_finite()) {
                self.axes.samples.push(bucket.step, bucket.first);
                self.axes.samples.push(bucket.end, bucket.last);
            }
            return;
        }
        // Two are enough for a rate, and a state may be large.
        let mut found: Vec<(u64, u64)> = Vec::new();
        for saved in self.checkpoints.iter().take(2) {
            let samples = Checkpoint::open(self.folder.join(&saved.name))
                .ok()
                .and_then(|checkpoint| checkpoint.read("run").ok()?.count("run.train.progress.samples").ok());
            found.extend(samples.map(|samples| (saved.step, samples)));
        }
        found.sort_unstable();
        found.iter().for_each(|&(step, samples)| self.axes.samples.push(step, samples as f64));
    }

    /// The text of a file, unless it is missing or too large.
    fn text(&mut self, name: &str) -> Option<String> {
        let mut text = Vec::new();
        let read = lines::open(&self.folder.join(name)).and_then(|file| match file {
            Some(file) => file.take(LARGEST + 1).read_to_end(&mut text).map(Some),
            None => Ok(None),
        });
        match read {
            Ok(None) => None,
            Err(cause) => {
                self.damage.push(format!("{name}: {cause}"));
                None
            }
            Ok(Some(size)) if LARGEST < size as u64 => {
                self.damage.push(format!("{name}: left out, as it is larger than 1 MiB"));
                None
            }
            Ok(Some(_)) => Some(String::from_utf8_lossy(&text).into_owned()),
        }
    }

    fn json(&mut self, name: &str) -> Option<Value> {
        let text = self.text(name)?;
        serde_json::from_str(&text).inspect_err(|cause| self.damage.push(format!("{name}: {cause}"))).ok()
    }
}

/// A part of a folder, or none of it and a sentence in `damage`.
fn part<T: Default>(name: &str, read: Result<T, impl Display>, damage: &mut Vec<String>) -> T {
    read.unwrap_or_else(|cause| {
        damage.push(format!("{name}: {cause}"));
        T::default()
    })
}

fn check_run(folder: &Path) -> Result<(), BoxError> {
    let shown = folder.display();
    fs::read_dir(folder).map_err(|cause| format!("cannot read `{shown}`: {cause}"))?;
    match is_run(folder) {
        true => Ok(()),
        false => Err(format!("`{shown}` is no run: it has none of {}", FILES_OF_RUN.join(", ")).into()),
    }
}
