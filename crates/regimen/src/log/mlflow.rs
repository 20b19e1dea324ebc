//! A run on an MLflow server.

mod client;
mod entry;
mod queue;
mod spool;
mod tracked_run;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, mem};

use self::client::Client;
use self::entry::Entry;
use self::queue::{Content, Queue, Upload, now};
use self::spool::Spool;
use self::tracked_run::{Experiment, Start, TrackedRun, patiently};
use super::png::png;
use super::{Flush, MediaRecord, MetricLog, MetricSink, OnFailure, Record};
use crate::metric::Media;
use crate::run::{Ended, Report};
use crate::saved::{Array, StateDict, Stateful};
use crate::state::{EntryPoint, HyperParameters, Phase};
use crate::system::{random_name, variable};
use crate::{BoxError, Error};

/// A run on an MLflow tracking server, over its REST interface.
///
/// Metrics keep their names. The mean of a training epoch gets `_epoch` behind its name, because a name has one
/// value per step. Hyper-parameters become parameters, images and texts become files of the run. Tags hold the
/// program, the user, the Git commit and the newest checkpoint. Histograms are not written: MLflow has no place
/// for them. The metrics of `SystemMonitor` are in the tab "System metrics"; those of an evaluation end in `_eval`.
///
/// **Names.** MLflow takes letters, digits and `_-. :/`, at most 250 characters. In other names each character
/// that it does not take is an underscore, and a checksum of the name follows: `acc@1` is `acc_1-a0d5cb4b`. A tag
/// holds the true name.
///
/// A thread sends the metrics, a request per second or per 1000 values.
///
/// **Waits.** No step waits for the server. The start of a call waits until the run is open: up to three tries, and
/// at most 10 seconds per request. The end of a call waits at most 5 seconds for the metrics. Then it waits at most
/// 5 seconds for the status and the files, and longer only while a file is uploaded. An upload without progress fails
/// after a minute. The thread that writes a checkpoint waits at most 5 seconds.
///
/// **Outages.** While the server is away, metrics, parameters and tags wait in memory, and from each checkpoint on
/// in the spool file `mlflow-<run>.jsonl`. They are sent when the server answers again, in their order. Images and
/// texts wait in memory alone, at most 64 MiB of them. An upload that fails is tried again, at growing pauses of at
/// most a minute. A file that the server refuses is left out, with a notice. A notice names all that did not reach
/// the server when the call ends.
///
/// **Refusals.** A run or an experiment that does not exist or is deleted is an error when the call begins. If
/// the run is deleted later, metrics go to the spool file. A parameter that has changed is refused by the server,
/// with a notice.
///
/// **Resume.** A checkpoint holds the id of the run. A restored run goes on in it: steps that the server has are
/// not sent again. Points on the server are never changed, so a run that is restored and then trained otherwise
/// shows its old values up to the newest step there. A run that is given by its id, and not by its checkpoint,
/// gets all values; a notice tells if it has some already.
///
/// **Environment.** `MLFLOW_TRACKING_URI`, `MLFLOW_EXPERIMENT_NAME`, `MLFLOW_EXPERIMENT_ID` and `MLFLOW_RUN_ID` are
/// read if the log does not set them. Credentials are those of `MLFLOW_TRACKING_USERNAME` and
/// `MLFLOW_TRACKING_PASSWORD`, of `~/.mlflow/credentials`, or of `MLFLOW_TRACKING_TOKEN`. For TLS there are
/// `MLFLOW_TRACKING_SERVER_CERT_PATH` and `MLFLOW_TRACKING_INSECURE_TLS`. Proxies are those of `http_proxy`,
/// `https_proxy` and `no_proxy`; for a server on this machine there is none.
///
/// Built by [`MetricLog::mlflow`]. Tested with MLflow 3.17.
#[derive(Debug, Default)]
pub struct Mlflow {
    settings: Settings,
    /// The id of the run in the checkpoint, empty if the server had not given it one.
    restored: Option<String>,
    /// A random name of the run before the server gives it an id.
    run_key: String,
    queue: Option<Queue>,
    /// The reason why there is no queue.
    refusal: String,
    is_running: bool,
    /// Whether the call is a pass by hand.
    by_hand: bool,
    /// Names that MLflow does not take, and which were told.
    changed: BTreeSet<String>,
    /// The newest step of each image or text, and how many came in it.
    media: BTreeMap<String, (u64, u64)>,
    notices: Vec<String>,
}

#[derive(Debug, Default)]
struct Settings {
    uri: Option<String>,
    experiment: Option<String>,
    run_name: Option<String>,
    run_id: Option<String>,
    parent_run: Option<String>,
    tags: Vec<(String, String)>,
    artifacts: Vec<PathBuf>,
    spool_dir: PathBuf,
}

impl MetricLog<Mlflow> {
    /// Logs to an MLflow server. Its failures are notices by default: an outage does not end the run.
    ///
    /// ```no_run
    /// # fn example<U>(run: regimen::Run<'_, U>) -> regimen::Run<'_, U> {
    /// use regimen::log::MetricLog;
    ///
    /// let log = MetricLog::mlflow().uri("http://127.0.0.1:5000").experiment("digits").run_name("baseline");
    /// run.callback(log)
    /// # }
    /// ```
    pub fn mlflow() -> Self {
        MetricLog::to(Mlflow::default()).on_failure(OnFailure::Notice)
    }

    /// The address of the server. Default: `MLFLOW_TRACKING_URI`.
    pub fn uri(mut self, uri: impl Into<String>) -> Self {
        self.sink.settings.uri = Some(uri.into());
        self
    }

    /// The name of the experiment, which is created if it does not exist. Default: that of
    /// `MLFLOW_EXPERIMENT_NAME` or `MLFLOW_EXPERIMENT_ID`, or else the server's default experiment.
    pub fn experiment(mut self, name: impl Into<String>) -> Self {
        self.sink.settings.experiment = Some(name.into());
        self
    }

    /// The name of a new run. Default: the server invents one.
    pub fn run_name(mut self, name: impl Into<String>) -> Self {
        self.sink.settings.run_name = Some(name.into());
        self
    }

    /// The id of an existing run to log to. Default: `MLFLOW_RUN_ID`, or else the run of the checkpoint, or a
    /// new one. Values that the run has already stay: a step that is logged again is a second point.
    pub fn run_id(mut self, id: impl Into<String>) -> Self {
        self.sink.settings.run_id = Some(id.into());
        self
    }

    /// The id of the run under which a new run is shown.
    pub fn parent_run(mut self, id: impl Into<String>) -> Self {
        self.sink.settings.parent_run = Some(id.into());
        self
    }

    /// Adds a tag. That of `mlflow.note.content` is the description of the run, in Markdown.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.sink.settings.tags.push((key.into(), value.into()));
        self
    }

    /// Uploads the file at `path` when training ends, under its name without folders: a configuration, a plot, an
    /// exported model. The path of the newest checkpoint is the tag `regimen.checkpoint`.
    pub fn artifact(mut self, path: impl Into<PathBuf>) -> Self {
        self.sink.settings.artifacts.push(path.into());
        self
    }

    /// The folder of the spool file, which holds all that the server has not got yet. Default: the working
    /// directory.
    pub fn spool_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.sink.settings.spool_dir = dir.into();
        self
    }
}

impl Mlflow {
    /// Begins the run. A server that is away is an error, and the queue begins the run later.
    fn begin(&mut self, is_training: bool) -> Result<(), BoxError> {
        let settings = &self.settings;
        let uri = settings.uri.clone().or_else(|| variable("MLFLOW_TRACKING_URI"));
        let client = Client::new(
            &uri.ok_or("no MLflow server is named; set MLFLOW_TRACKING_URI, or give its address by `uri`")?,
        )?;
        let given = settings.run_id.clone().or_else(|| variable("MLFLOW_RUN_ID"));
        if self.run_key.is_empty() {
            self.run_key = random_name();
        }
        let experiment = settings.experiment.clone().or_else(|| variable("MLFLOW_EXPERIMENT_NAME"));
        let experiment_id = || variable("MLFLOW_EXPERIMENT_ID").unwrap_or_else(|| "0".to_owned());
        let known = self.restored.clone().filter(|id| !id.is_empty());
        let start = Start {
            run_id: given.or_else(|| known.clone()),
            restored: self.restored.clone(),
            run_key: self.run_key.clone(),
            experiment: experiment.map_or_else(|| Experiment::Id(experiment_id()), Experiment::Name),
            run_name: settings.run_name.clone(),
            is_training,
        };
        // A process that never learned the id of its run has a file of the key.
        let has_key_alone = self.restored.is_some() && known.is_none();
        let run = start.run_id.as_ref().filter(|_| !has_key_alone).unwrap_or(&start.run_key);
        let spool = Spool::open(&settings.spool_dir, run)?;
        let (run, failure) = match patiently(|| TrackedRun::begin(&client, &start, now())) {
            Ok(run) => (Some(run), None),
            Err(failure) if failure.is_refusal() => return Err(failure.into()),
            // It may come back, or take the credentials later.
            Err(failure) => (None, Some(failure)),
        };
        let queue = Queue::start(client, start, run, spool)?;
        queue.push(self.tags())?;
        (self.queue, self.is_running) = (Some(queue), is_training);
        failure.map_or(Ok(()), |failure| {
            let remedy = "; check that it runs and that its address is right";
            Err(format!("{failure}{}", if failure.is_away() { remedy } else { "" }).into())
        })
    }

    /// The tags of MLflow's own clients, and those that were set.
    fn tags(&mut self) -> Vec<Entry> {
        let commit = Command::new("git").args(["rev-parse", "HEAD"]).stdin(Stdio::null()).output();
        let commit = commit.ok().filter(|output| output.status.success());
        let standard = [
            ("mlflow.user", ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(variable)),
            ("mlflow.source.name", env::current_exe().ok().map(|program| program.display().to_string())),
            ("mlflow.source.type", Some("LOCAL".to_owned())),
            (
                "mlflow.source.git.commit",
                commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            ),
            ("mlflow.parentRunId", self.settings.parent_run.clone()),
        ];
        let standard = standard.into_iter().filter_map(|(key, value)| Some(Entry::tag(key, value?)));
        let mut tags: Vec<_> = standard.collect();
        for (key, value) in self.settings.tags.clone() {
            let key = self.key(key, &mut tags);
            tags.push(Entry::Tag { key, value });
        }
        tags
    }

    fn queue(&self) -> Result<&Queue, BoxError> {
        self.queue.as_ref().ok_or_else(|| self.refusal.clone().into())
    }

    /// The name as MLflow takes it. If that is another, a tag holds the true one.
    fn key(&mut self, name: String, entries: &mut Vec<Entry>) -> String {
        let Some(allowed) = allowed_name(&name) else { return name };
        if !self.changed.contains(&name) {
            self.notices.push(format!("MLflow does not take the name `{name}`: it is `{allowed}` there"));
            entries.push(Entry::tag(&format!("regimen.name.{allowed}"), &*name));
            self.changed.insert(name);
        }
        allowed
    }
}

impl MetricSink for Mlflow {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("MetricLog(mlflow)")
    }

    fn open(&mut self, entry: EntryPoint) -> Result<(), BoxError> {
        let is_training = entry.phase() == Phase::Train;
        self.by_hand = !is_training;
        match &self.queue {
            None => {
                let begun = self.begin(is_training);
                self.refusal = begun.as_ref().err().map(ToString::to_string).unwrap_or_default();
                begun
            }
            Some(queue) => {
                if is_training && !mem::replace(&mut self.is_running, true) {
                    queue.status("RUNNING", None);
                }
                Ok(())
            }
        }
    }

    fn keeps_records(&self) -> bool {
        self.queue.as_ref().is_some_and(Queue::keeps_entries)
    }

    fn notice(&mut self) -> Option<String> {
        let mut notices = mem::take(&mut self.notices);
        notices.extend(self.queue.iter().flat_map(Queue::notices));
        (!notices.is_empty()).then(|| notices.join("; "))
    }

    fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError> {
        // Taken here, once: a point that is sent again is the same point.
        let time = now();
        let mut entries = Vec::with_capacity(records.len());
        for record in records {
            let key = self.key(format!("{}{}", record.name, suffix(record)), &mut entries);
            entries.push(Entry::metric(key, record.value, time, record.step, self.by_hand));
        }
        self.queue()?.push(entries)
    }

    fn write_media(&mut self, record: &MediaRecord<'_>) -> Result<(), BoxError> {
        let MediaRecord { step, name, media, .. } = *record;
        let (folder, ending, bytes) = match media {
            Media::Text(text) => ("texts", "md", text.clone().into_bytes()),
            Media::Image(image) => ("images", "png", png(image)?),
            _ => return Ok(()),
        };
        let name = allowed_name(name).unwrap_or_else(|| name.to_owned());
        let file = format!("{folder}/{name}/step-{step:09}");
        let newest = self.media.entry(format!("{folder}/{name}")).or_default();
        *newest = if newest.0 == step { (step, newest.1 + 1) } else { (step, 1) };
        let path = match newest.1 {
            1 => format!("{file}.{ending}"),
            n => format!("{file}-{n}.{ending}"),
        };
        self.queue()?.upload(Upload { path, content: Content::Bytes(bytes) });
        Ok(())
    }

    fn write_hyper_parameters(&mut self, settings: &HyperParameters) -> Result<(), BoxError> {
        let mut entries = Vec::new();
        for (name, value) in settings.iter() {
            let key = self.key(name.to_owned(), &mut entries);
            entries.push(Entry::Param { key, value: value.to_string() });
        }
        self.queue()?.push(entries)
    }

    fn end(&mut self, outcome: Result<&Report, &Error>) -> Result<(), BoxError> {
        // The log could not be opened, which was told.
        let Some(queue) = &self.queue else { return Ok(()) };
        let checkpoint = outcome.ok().and_then(|report| report.saved.clone());
        let pushed = queue.push(checkpoint.map(|path| Entry::tag("regimen.checkpoint", path)));
        for path in &self.settings.artifacts {
            let name = path.file_name().map(Path::new).unwrap_or(path).display().to_string();
            queue.upload(Upload { path: name, content: Content::File(path.clone()) });
        }
        let status = match outcome.map(|report| &report.ended) {
            Ok(Ended::Complete | Ended::Finished(_)) => "FINISHED",
            Ok(_) => "KILLED",
            Err(_) => "FAILED",
        };
        queue.status(status, Some(now()));
        self.is_running = false;
        queue.end().and(pushed)
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        match &self.queue {
            None => Ok(()),
            // No `end` follows, which waits for the files.
            Some(queue) if self.by_hand => queue.wait(),
            Some(queue) => queue.flush_later()(),
        }
    }

    fn flush_later(&mut self) -> Result<Option<Flush>, BoxError> {
        Ok(self.queue.as_ref().map(Queue::flush_later))
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

/// The id of the run, empty if the server has not given it one, and its key.
impl Stateful for Mlflow {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let id = self.queue.as_ref().and_then(Queue::run_id).or_else(|| self.restored.clone());
        let mut dict = StateDict::new();
        dict.insert("run_id", Array::from_text(&id.unwrap_or_default()))?;
        dict.insert("run_key", Array::from_text(&self.run_key))?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let (id, key) = (dict.array("run_id")?.to_text()?, dict.array("run_key")?.to_text()?);
        (self.restored, self.run_key) = (Some(id), key);
        // It was flushed. The next call goes on in the restored run.
        self.queue = None;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        ["run_id", "run_key"].into_iter().try_for_each(|name| dict.array(name)?.to_text().map(drop))
    }
}

/// The end of a record's name. `SystemMonitor` logs under the same names in all phases.
fn suffix(record: &Record<'_>) -> &'static str {
    match record.phase {
        Phase::Eval if record.name.starts_with("system/") => "_eval",
        Phase::Predict if record.name.starts_with("system/") => "_predict",
        _ => record.suffix(),
    }
}

/// The name in place of one that MLflow does not take; `None` if it takes it.
///
/// It has an underscore for each character but letters, digits and `_-. :/`, and for parts of a path that are empty,
/// `.` or `..`. The checksum of the true name follows, so two names stay two in every process. It has at most 237
/// characters, which leaves room for `regimen.name.` before it.
fn allowed_name(name: &str) -> Option<String> {
    let is_allowed = |char: char| char.is_alphanumeric() || "_-. :/".contains(char);
    let allowed: String = name.chars().map(|char| if is_allowed(char) { char } else { '_' }).collect();
    let parts: Vec<_> =
        allowed.split('/').map(|part| if ["", ".", ".."].contains(&part) { "_" } else { part }).collect();
    let allowed = parts.join("/");
    if allowed == name && name.chars().count() <= 250 {
        return None;
    }
    let begin: String = allowed.chars().take(228).collect();
    Some(format!("{begin}-{:08x}", crc32fast::hash(name.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_mlflow_takes() {
        for name in ["train/loss", "a b.c-d_e:1", "\u{fc}n\u{ef}", &"k".repeat(250)] {
            assert_eq!(allowed_name(name), None);
        }
        // The checksums are those of zlib.
        for (name, expected) in [
            ("a@b%c(d)+", "a_b_c_d__-d3f405f6"),
            ("/a", "_/a-69707b5c"),
            ("a//b", "a/_/b-206f76be"),
            ("a/../b/.", "a/_/b/_-7e09569e"),
            ("a/", "a/_-96ee7540"),
            ("", "_-00000000"),
            (&*"k".repeat(251), &*format!("{}-e4053200", "k".repeat(228))),
        ] {
            assert_eq!(allowed_name(name).as_deref(), Some(expected));
        }
    }

    #[test]
    fn two_names_stay_two() {
        let names: BTreeSet<_> =
            ["acc@1", "acc%1", "acc_1"].map(|name| allowed_name(name).unwrap_or(name.into())).into();
        assert_eq!(names.len(), 3);
    }
}
