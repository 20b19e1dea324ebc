//! Offline runs of Weights & Biases.

mod chunks;
mod open_run;
mod place;
mod records;

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use self::open_run::OpenRun;
use self::place::Place;
use self::records::number;
use super::protobuf::Message;
use super::{Flush, MediaRecord, MetricLog, MetricSink};
use crate::run::Report;
use crate::saved::{StateDict, Stateful};
use crate::state::{EntryPoint, HyperParameters, Phase};
use crate::system::variable;
use crate::{BoxError, Error};

/// An offline run of Weights & Biases: the sink of [`MetricLog::wandb`].
///
/// It writes the folder `wandb/offline-run-<date>-<id>`, which `wandb sync` uploads after the run, and
/// asks no server. The date is in UTC. The format has no published specification; it is that of Python's
/// wandb 0.19 to 0.31.
///
/// - The values of one moment are one record of the history, and of the summary. Their horizontal axis is
///   `step`, the training step; `_step` counts records.
/// - The value of a metric over a training epoch has the name `<metric>_epoch`. In W&B a name is one
///   curve, and `<metric>` is that of single steps.
/// - Texts are strings. Images are PNG files in `files/media/images`. The numbers of a histogram that are
///   not finite are counted in `<name>/nonfinite`.
/// - Hyper-parameters are the run's configuration.
/// - The run ends with the exit code 0 or, if the training failed, 1. A run that was killed counts as
///   failed.
///
/// The names `_step`, `_timestamp`, `_runtime` and `step` are taken: a metric of such a name is an error.
/// Records are written as by a [`LogFile`](super::LogFile): those of one moment at once, all or none.
///
/// **Environment.** `WANDB_PROJECT`, `WANDB_ENTITY`, `WANDB_NAME`, `WANDB_RUN_GROUP`, `WANDB_JOB_TYPE`,
/// `WANDB_TAGS` (with commas between them), `WANDB_NOTES` and, for a training, `WANDB_RUN_ID` are defaults.
/// With `WANDB_MODE=disabled` nothing is written. No key is read.
///
/// **Resume.** A checkpoint holds the folder's name, the length of the file and its CRC-32. A restored run
/// cuts the file to that length and writes on from there: the log is the one of a run that was never
/// interrupted, except for the times. It also removes the mark of an earlier sync, `*.synced`. A sync
/// belongs at the end of the run, because a server that has records keeps them.
///
/// **Passes by hand.** They continue the run of a training in the same process. Without one they are an
/// offline run of their own, with a random id.
#[derive(Debug)]
pub struct Wandb {
    dir: PathBuf,
    settings: Settings,
    is_disabled: bool,
    /// The place of a checkpoint to go on from.
    restored: Option<Place>,
    run: Option<OpenRun>,
    /// The call under way is a pass by hand.
    is_by_hand: bool,
    /// The open run is that of passes by hand: a training goes on in its own.
    is_apart: bool,
}

impl MetricLog<Wandb> {
    /// Writes an offline run of Weights & Biases to the folder `wandb` in `dir`.
    ///
    /// The folder is created when the run starts.
    ///
    /// ```
    /// # use regimen::log::MetricLog;
    /// let log = MetricLog::wandb("runs/digits").project("digits").tags(["first"]);
    /// # drop(log);
    /// ```
    pub fn wandb(dir: impl Into<PathBuf>) -> Self {
        MetricLog::to(Wandb {
            dir: dir.into(),
            settings: Settings::from_environment(),
            is_disabled: variable("WANDB_MODE").is_some_and(|mode| mode == "disabled"),
            restored: None,
            run: None,
            is_by_hand: false,
            is_apart: false,
        })
    }

    /// The project to which `wandb sync` uploads the run; `uncategorized` by default.
    pub fn project(self, project: impl Into<String>) -> Self {
        self.set(|settings| &mut settings.project, project)
    }

    /// The user or team of the project; the user who syncs by default.
    pub fn entity(self, entity: impl Into<String>) -> Self {
        self.set(|settings| &mut settings.entity, entity)
    }

    /// The displayed name of the run; chosen by the server by default.
    pub fn run_name(self, name: impl Into<String>) -> Self {
        self.set(|settings| &mut settings.name, name)
    }

    /// The group of the run, such as an experiment with several seeds.
    pub fn group(self, group: impl Into<String>) -> Self {
        self.set(|settings| &mut settings.group, group)
    }

    /// The purpose of the run in its group, such as `train`.
    pub fn job_type(self, job_type: impl Into<String>) -> Self {
        self.set(|settings| &mut settings.job_type, job_type)
    }

    /// A longer description of the run.
    pub fn notes(self, notes: impl Into<String>) -> Self {
        self.set(|settings| &mut settings.notes, notes)
    }

    /// The tags of the run, in place of those that were set before.
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.sink.settings.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    fn set(mut self, field: fn(&mut Settings) -> &mut Option<String>, value: impl Into<String>) -> Self {
        *field(&mut self.sink.settings) = Some(value.into());
        self
    }
}

impl Wandb {
    /// The run to write to. `None` if the log is disabled.
    fn opened(&mut self) -> Result<Option<&mut OpenRun>, BoxError> {
        if self.is_disabled {
            return Ok(None);
        }
        let run = match (self.run.take(), &self.restored) {
            (Some(run), _) => run,
            (None, Some(place)) if !self.is_by_hand => OpenRun::go_on(&self.dir, place.clone())?,
            (None, _) => {
                self.is_apart = self.is_by_hand;
                // One id is one run on the server.
                let id = self.settings.run_id.as_deref().filter(|_| !self.is_apart);
                OpenRun::begin(&self.dir, &self.settings, id)?
            }
        };
        if !self.is_apart {
            self.restored = None;
        }
        Ok(Some(self.run.insert(run)))
    }
}

impl MetricSink for Wandb {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("MetricLog(wandb)")
    }

    fn open(&mut self, entry: EntryPoint) -> Result<(), BoxError> {
        self.is_by_hand = entry.phase() != Phase::Train;
        if self.is_apart && !self.is_by_hand {
            (self.run, self.is_apart) = (None, false);
        }
        self.opened().map(drop)
    }

    fn write(&mut self, records: &[super::Record<'_>]) -> Result<(), BoxError> {
        let (Some(run), [first, ..]) = (self.opened()?, records) else { return Ok(()) };
        let value = |record: &super::Record<'_>| {
            (format!("{}{}", record.name, record.suffix()), number(record.value))
        };
        let values: Vec<_> = records.iter().map(value).collect();
        run.write(first.step, &values)
    }

    fn write_media(&mut self, record: &MediaRecord<'_>) -> Result<(), BoxError> {
        let Some(run) = self.opened()? else { return Ok(()) };
        run.write_media(record.step, record.name, record.media)
    }

    fn write_hyper_parameters(&mut self, settings: &HyperParameters) -> Result<(), BoxError> {
        self.opened()?.map_or(Ok(()), |run| run.configure(settings))
    }

    fn end(&mut self, outcome: Result<&Report, &Error>) -> Result<(), BoxError> {
        self.run.as_mut().map_or(Ok(()), |run| run.end_training(outcome.is_err()))
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        match &mut self.run {
            // Nothing else tells the end of a pass by hand.
            Some(run) if self.is_by_hand => run.end(),
            Some(run) => run.sync(),
            None => Ok(()),
        }
    }

    fn flush_later(&mut self) -> Result<Option<Flush>, BoxError> {
        match &mut self.run {
            Some(run) if !self.is_by_hand => run.sync_later(),
            _ => self.flush().map(|()| None),
        }
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

/// The place of the training's run; empty if there is none.
impl Stateful for Wandb {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let open = self.run.as_ref().filter(|_| !self.is_apart).map(OpenRun::place);
        self.restored.clone().or(open).map_or(Ok(StateDict::new()), |place| place.state_dict())
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.restored = Place::read(dict)?;
        (self.run, self.is_apart) = (None, false);
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        Place::read(dict).map(drop)
    }
}

/// The description of a new run.
#[derive(Debug)]
struct Settings {
    run_id: Option<String>,
    project: Option<String>,
    entity: Option<String>,
    name: Option<String>,
    group: Option<String>,
    job_type: Option<String>,
    notes: Option<String>,
    tags: Vec<String>,
}

impl Settings {
    fn from_environment() -> Self {
        let tags = variable("WANDB_TAGS").unwrap_or_default();
        let tags = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned);
        Settings {
            run_id: variable("WANDB_RUN_ID"),
            project: variable("WANDB_PROJECT"),
            entity: variable("WANDB_ENTITY"),
            name: variable("WANDB_NAME"),
            group: variable("WANDB_RUN_GROUP"),
            job_type: variable("WANDB_JOB_TYPE"),
            notes: variable("WANDB_NOTES"),
            tags: tags.collect(),
        }
    }

    /// The record of a run with this id that starts now.
    fn run(&self, id: &str, now: Duration) -> records::Record {
        let texts = [
            (2, &self.entity),
            (3, &self.project),
            (6, &self.group),
            (7, &self.job_type),
            (8, &self.name),
            (9, &self.notes),
        ];
        let texts = texts.into_iter().filter_map(|(field, text)| Some((field, text.as_ref()?)));
        let texts = texts.filter(|(_, text)| !text.is_empty());
        let tags = self.tags.iter().map(|tag| (10, tag));
        let content = texts.chain(tags).fold(Message::new().bytes(1, id.as_bytes()), |run, (field, text)| {
            run.bytes(field, text.as_bytes())
        });
        let start = Message::new().varint(1, now.as_secs()).varint(2, now.subsec_nanos().into());
        records::Record { field: 17, content: content.bytes(17, start.as_bytes()) }
    }
}
