//! Event files, as TensorBoard reads them.

mod event;
mod event_file;
mod framing;
mod graph_node;

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::open_file::{Mark, OpenFile, failed};
use super::png::png;
use super::wav::wav;
use super::{Flush, MediaRecord, MetricLog, MetricSink, Record};
use crate::metric::Media;
use crate::run::{Ended, Report};
use crate::saved::{Array, StateDict, Stateful};
use crate::state::{EntryPoint, HyperParameters, Phase};
use crate::{BoxError, Error};
use event_file::EventFile;

pub use graph_node::GraphNode;

/// A folder of event files for TensorBoard, which shows it as one run.
///
/// The tag of a metric is its name. In training, the tag of a value over an epoch is the name with `_epoch`
/// behind it, because a tag has one value per step. Names that occur in two phases need
/// [`split`](MetricLog::split) for the same reason. Values are written in single precision.
///
/// Texts, images, histograms and sounds have their name as tag. The numbers of a histogram that are not finite are
/// counted in `<name>/nonfinite`, if there are any. Hyper-parameters, and how the run ended, are a row under
/// "HParams". TensorBoard shows those of the beginning there: if a restored run has others, these are a text,
/// `hyper_parameters`. Metrics whose names differ only in the prefix `train/` or `eval/` share a chart under "Custom
/// scalars": those that are known when the first evaluation with such a metric ends.
///
/// The values of one moment are one write, without a buffer. A write that fails is undone, so the file stays
/// whole. A file that was cut, replaced or removed while the run writes to it is an error of the next write.
///
/// **Resume.** Each start of a run creates a file, because TensorBoard gives up a file that was cut and then
/// written to. A checkpoint holds the file's name, its length, and the CRC-32 of its bytes. A restored run
/// cuts that file to that length, and its new file begins with a mark that makes later points void. A file
/// that is missing or shorter, or has other bytes up to there, is an error and stays as it is. A run that is
/// not restored moves the event files of an earlier run to a folder of their own (`digits.1`).
///
/// **Passes by hand.** An evaluation or prediction by hand is a run of its own, in the sub-folder `evaluate`
/// or `predict`. TensorBoard would hide the points of the training behind the step of that pass.
#[derive(Debug)]
pub struct TensorBoard {
    dir: PathBuf,
    split: bool,
    graph: Vec<GraphNode>,
    entry: EntryPoint,
    /// By their folder below `dir`.
    open: BTreeMap<&'static str, EventFile>,
    written: Written,
    /// The files that the training wrote before are cut back or set aside.
    has_begun: bool,
    /// The first step of this start of the training.
    start: u64,
    /// No checkpoint holds the open files of this restored training. They stay if it is restored again.
    is_unsaved: bool,
}

/// The state of a training's log in a checkpoint.
#[derive(Clone, Debug, Default)]
struct Written {
    /// Names and lengths, by folder.
    files: BTreeMap<&'static str, (String, Mark)>,
    /// The largest step.
    step: u64,
    /// The CRC-32 of the hyper-parameters that were written last; 0 if there are none.
    hyper_parameters: u32,
    has_charts: bool,
    /// Names in training, without `train/`, until the charts are written.
    trained: BTreeSet<String>,
}

/// The folders of a training, with the names of their files in a checkpoint.
const FOLDERS: [(&str, &str); 3] = [("run", RUN), ("train", "train"), ("eval", "eval")];

/// The folder of what is said once per run.
const RUN: &str = "";

impl MetricLog<TensorBoard> {
    /// Writes event files for TensorBoard to the folder `dir`, which is created when the run starts.
    ///
    /// ```no_run
    /// # use regimen::Run;
    /// # use regimen::log::MetricLog;
    /// # fn example<U>(run: Run<'_, U>) -> Run<'_, U> {
    /// run.callback(MetricLog::tensorboard("runs/digits")) // seen with `tensorboard --logdir runs`
    /// # }
    /// ```
    pub fn tensorboard(dir: impl Into<PathBuf>) -> Self {
        MetricLog::to(TensorBoard {
            dir: dir.into(),
            split: false,
            graph: Vec::new(),
            entry: EntryPoint::Train,
            open: BTreeMap::new(),
            written: Written::default(),
            has_begun: false,
            start: 0,
            is_unsaved: false,
        })
    }

    /// Writes each phase to a folder below, `train` and `eval`, and leaves the phase out of its tags:
    /// `train/loss` and `eval/loss` become two lines in the chart `loss`. Default: false.
    pub fn split(mut self, split: bool) -> Self {
        self.sink.split = split;
        self
    }

    /// Writes the graph of a module, which TensorBoard draws, at the start of a new run. Default: no graph.
    pub fn graph(mut self, nodes: impl IntoIterator<Item = GraphNode>) -> Self {
        self.sink.graph = nodes.into_iter().collect();
        self
    }
}

impl TensorBoard {
    fn is_training(&self) -> bool {
        self.entry.phase() == Phase::Train
    }

    /// The file of a phase.
    fn file(&mut self, phase: Phase) -> Result<&mut EventFile, BoxError> {
        let folder = match self.entry {
            EntryPoint::Evaluate => "evaluate",
            EntryPoint::Predict => "predict",
            EntryPoint::Train | EntryPoint::Fit if self.split => phase.name(),
            EntryPoint::Train | EntryPoint::Fit => RUN,
        };
        self.file_in(folder)
    }

    fn file_in(&mut self, folder: &'static str) -> Result<&mut EventFile, BoxError> {
        let trains = self.is_training();
        if trains && !self.has_begun {
            self.begin()?;
        }
        match self.open.entry(folder) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(place) => {
                let file = EventFile::create(&self.dir.join(folder), trains.then_some(self.start))?;
                Ok(place.insert(file))
            }
        }
    }

    /// Cuts the files of a restored training back to its checkpoint; sets those of an earlier run aside.
    fn begin(&mut self) -> Result<(), BoxError> {
        for (folder, (name, mark)) in &self.written.files {
            OpenFile::go_on(&self.dir.join(folder).join(name), *mark)?;
        }
        let is_new = self.written.files.is_empty();
        if is_new {
            let folders = if self.split { &FOLDERS[..] } else { &FOLDERS[..1] };
            let folders: Vec<_> = folders.iter().map(|(_, folder)| *folder).collect();
            let moved = event_file::set_aside(&self.dir, &folders);
            moved.map_err(|cause| failed(&self.dir, "set aside", cause))?;
        }
        // Points at the step of the checkpoint were written before it.
        self.start = if is_new { 0 } else { self.written.step + 1 };
        (self.has_begun, self.is_unsaved) = (true, !is_new);
        let graph = std::mem::take(&mut self.graph);
        if is_new && !graph.is_empty() {
            self.file_in(RUN)?.write(0, |event, _| event::graph(event, &graph))?;
        }
        Ok(())
    }

    /// The names of `records` of an evaluation that are logged in training too, unless their charts are
    /// written already.
    fn charts<'a>(&mut self, phase: Phase, records: &[Record<'a>]) -> Vec<&'a str> {
        if self.split || self.written.has_charts || !self.is_training() {
            return Vec::new();
        }
        let names = records.iter().filter_map(|record| within(phase, record.name));
        if phase == Phase::Eval {
            return names.filter(|name| self.written.trained.contains(*name)).collect();
        }
        for name in names {
            if !self.written.trained.contains(name) {
                self.written.trained.insert(name.to_owned());
            }
        }
        Vec::new()
    }

    /// Writes the values of one moment.
    fn write_moment(&mut self, step: u64, phase: Phase, records: &[Record<'_>]) -> Result<(), BoxError> {
        let charts = self.charts(phase, records);
        let split = self.split;
        self.file(phase)?.write(step, |event, _| {
            event::summary(event, |summary| {
                for record in records {
                    event::scalar(summary, (tag(split, phase, record.name), record.suffix()), record.value);
                }
                if !charts.is_empty() {
                    event::charts(summary, charts.iter().copied());
                }
            });
        })?;
        if !charts.is_empty() {
            self.written.has_charts = true;
            self.written.trained.clear();
        }
        self.note(step);
        Ok(())
    }

    fn note(&mut self, step: u64) {
        if self.is_training() {
            self.written.step = self.written.step.max(step);
        }
    }

    /// The state of a checkpoint made now.
    fn now(&self) -> Written {
        let mut now = self.written.clone();
        let of_training =
            self.open.iter().filter(|(open, _)| FOLDERS.iter().any(|(_, folder)| folder == *open));
        now.files.extend(of_training.map(|(folder, file)| (*folder, (file.name.clone(), file.mark()))));
        now
    }
}

/// The tag of a name, without its suffix.
fn tag(split: bool, phase: Phase, name: &str) -> &str {
    if split { within(phase, name).unwrap_or(name) } else { name }
}

/// The rest of a name that begins with its phase.
fn within(phase: Phase, name: &str) -> Option<&str> {
    name.strip_prefix(phase.name())?.strip_prefix('/')
}

impl MetricSink for TensorBoard {
    fn name(&self) -> Cow<'static, str> {
        let folder = self.dir.file_name().unwrap_or(self.dir.as_os_str());
        Cow::Owned(format!("TensorBoard({})", folder.to_string_lossy()))
    }

    fn open(&mut self, entry: EntryPoint) -> Result<(), BoxError> {
        self.entry = entry;
        self.file(entry.phase()).map(drop)
    }

    fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError> {
        let moments = records.chunk_by(|a, b| (a.step, a.phase) == (b.step, b.phase));
        for moment in moments {
            let Record { step, phase, .. } = moment[0];
            self.write_moment(step, phase, moment)?;
        }
        Ok(())
    }

    fn write_media(&mut self, record: &MediaRecord<'_>) -> Result<(), BoxError> {
        let MediaRecord { step, phase, name, media } = *record;
        let tag = tag(self.split, phase, name);
        let mut values = Vec::new();
        match media {
            Media::Text(text) => event::markdown(&mut values, tag, text),
            Media::Image(image) => {
                event::picture(&mut values, tag, image.width(), image.height(), &png(image)?);
            }
            Media::Histogram(histogram) => {
                event::buckets(&mut values, tag, histogram);
                if histogram.not_finite() > 0 {
                    event::scalar(&mut values, (tag, "/nonfinite"), histogram.not_finite() as f64);
                }
            }
            Media::Audio(audio) => event::sound(&mut values, tag, &wav(audio)),
            _ => return Ok(()),
        }
        self.file(phase)?.write(step, |event, _| event::summary(event, |summary| summary.extend(values)))?;
        self.note(step);
        Ok(())
    }

    fn write_hyper_parameters(&mut self, settings: &HyperParameters) -> Result<(), BoxError> {
        // Opened at each start: a checkpoint must hold the file that will have the end of the run.
        self.file_in(RUN)?;
        let (before, now) = (self.written.hyper_parameters, crc32fast::hash(settings.to_string().as_bytes()));
        if now == before {
            return Ok(());
        }
        let is_first = before == 0;
        let step = if is_first { 0 } else { self.start.max(self.written.step) };
        self.file_in(RUN)?.write(step, |event, time| {
            event::summary(event, |summary| match is_first {
                true => event::hyper_parameters(summary, settings, time),
                false => event::changed_hyper_parameters(summary, settings),
            });
        })?;
        self.written.hyper_parameters = now;
        Ok(())
    }

    fn end(&mut self, outcome: Result<&Report, &Error>) -> Result<(), BoxError> {
        let is_over = match outcome {
            Ok(report) => matches!(report.ended, Ended::Complete | Ended::Finished(_)),
            // TensorBoard takes the first end of a run, and this one would stay if it is restored again.
            Err(_) => !self.is_unsaved,
        };
        if !(is_over && self.has_begun && self.written.hyper_parameters != 0) {
            return Ok(());
        }
        // A later call goes on as a restored run does, and cuts the end off.
        self.written = self.now();
        self.file_in(RUN)?.write(0, |event, time| {
            event::summary(event, |summary| event::session_end(summary, outcome.is_ok(), time));
        })?;
        self.flush()?;
        self.open.clear();
        self.has_begun = false;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        self.open.values_mut().try_for_each(EventFile::sync)
    }

    fn flush_later(&mut self) -> Result<Option<Flush>, BoxError> {
        let syncs = self.open.values_mut().map(EventFile::sync_later).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Box::new(|| syncs.into_iter().flatten().try_for_each(|sync| sync()))))
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        self.is_unsaved = false;
        Some(self)
    }
}

/// Names, lengths and checksums of the files, the largest step, and what was written once.
impl Stateful for TensorBoard {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let (mut dict, now) = (StateDict::new(), self.now());
        for (key, folder) in FOLDERS {
            if let Some((name, mark)) = now.files.get(folder) {
                dict.insert(format!("{key}.name"), Array::from_text(name))?;
                dict.insert_all(key, mark.state_dict()?)?;
            }
        }
        dict.insert("step", now.step)?;
        dict.insert("hyper_parameters", now.hyper_parameters)?;
        dict.insert("charts", u8::from(now.has_charts))?;
        for (n, name) in now.trained.iter().enumerate() {
            dict.insert(format!("trained.{n}"), Array::from_text(name))?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.written = Written::read(dict)?;
        self.open.clear();
        self.has_begun = false;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        Written::read(dict).map(drop)
    }
}

impl Written {
    fn read(dict: &StateDict) -> Result<Self, BoxError> {
        let mut files = BTreeMap::new();
        for (key, folder) in FOLDERS {
            let file = dict.under(key);
            if file.is_empty() {
                continue;
            }
            let name = file.array("name")?.to_text()?;
            if Path::new(&name).file_name() != Some(name.as_ref()) {
                return Err(format!("`{key}.name`: {name:?} is not the name of a file").into());
            }
            files.insert(folder, (name, Mark::read(&file)?));
        }
        Ok(Written {
            files,
            step: dict.count("step")?,
            hyper_parameters: dict.get("hyper_parameters")?,
            has_charts: dict.get::<u8>("charts")? != 0,
            trained: dict
                .under("trained")
                .iter()
                .map(|(_, name)| name.to_text())
                .collect::<Result<_, _>>()?,
        })
    }
}
