//! The folder of a run: checkpoints, metrics, notices and the environment of each start.

mod environment;
mod pause_file;
mod profile_files;
mod records;

use std::fmt;
use std::path::{Path, PathBuf};

use self::pause_file::PauseFile;
use self::profile_files::ProfileFiles;
use self::records::Records;
use crate::callback::{Every, FlightRecorder};
use crate::checkpoint::Checkpointer;
use crate::log::MetricLog;
use crate::profile::Profile;
use crate::saved::AppState;
use crate::{Error, Run};

/// A folder with everything that one run leaves, and from which it goes on.
///
/// [`open`](RunFolder::open) gives a run its saver and its logs, and restores the newest checkpoint if
/// there is one. The folder then has:
///
/// | file | content |
/// |---|---|
/// | `step-000001000/` | a checkpoint: see [`Checkpointer`] |
/// | `metrics.jsonl` | the metrics: see [`Record`](crate::log::Record) |
/// | `tensorboard/` | the same for TensorBoard, with texts, images, histograms and sounds: see [`TensorBoard`](crate::log::TensorBoard) |
/// | `hyper_parameters.json` | the [hyper-parameters](Run::hyper_parameters), if there are any |
/// | `environment.jsonl` | a line per start: time, versions, machine, command line, git commit, expected steps and epochs |
/// | `log.txt` | notices, errors and reports, with the time and the step |
/// | `flight.json` | the last 256 steps before an error or a pause: see [`FlightRecorder`] |
/// | `profile.json`, `trace.json` | the times of its parts, with a [`profile`](RunFolder::profile) |
/// | `rank-1/` | the state of another rank than the first when that failed, for the post-mortem |
/// | `LOCK` | the [lock](crate::checkpoint::LockFile) of the process that writes |
/// | `PAUSE` | a request to pause, made by another process: see below |
///
/// **Pause.** `touch runs/digits/PAUSE` pauses the run, and so does the key `p` in `regimen watch`. The file is looked for
/// once a second, at the end of a step. The run then pauses as after [`State::pause`](crate::State::pause): it is saved, the
/// reason is in the report, and the file is removed. A file that is there when the first call begins is an old request. It is
/// removed with a notice, and pauses nothing.
///
/// Among several [ranks](Run::peers) each opens it, and the first writes it. Another rank writes there only after it has failed.
///
/// Metrics go on exactly where the checkpoint left them. `environment.jsonl` and `log.txt` are the history
/// of all starts, and are never cut. [`Replay`](crate::replay::Replay) makes a step of the run again.
///
/// ```no_run
/// use regimen::auto_unit::EVAL_LOSS;
/// use regimen::callback::Every;
/// use regimen::folder::RunFolder;
/// use regimen::run::{Report, Train};
/// use regimen::saved::AppState;
/// use regimen::unit::TrainUnit;
/// use regimen::{BoxError, Run};
///
/// fn go<U: AppState + TrainUnit<Batch = u64>>(unit: &mut U, data: &[u64]) -> Result<Report, BoxError> {
///     let mut run = RunFolder::new("runs/digits")
///         .checkpoints(|saver| saver.every(Every::steps(500)).keep_min(1, EVAL_LOSS))
///         .open(Run::new(unit).seed(7))?;
///     Ok(run.train(data, Train::epochs(10))?)
/// }
/// ```
#[must_use]
pub struct RunFolder {
    dir: PathBuf,
    saver: Checkpointer,
    metrics_every: Option<Every>,
    flight: FlightRecorder,
    has_flight: bool,
    records: Records,
    profile: Option<Profile>,
    starts_over: bool,
}

/// The names of the files from which a step is compared with the one of a replay.
pub(crate) const METRICS: &str = "metrics.jsonl";
pub(crate) const FLIGHT: &str = "flight.json";

impl RunFolder {
    /// The folder `dir`, which is created when the run starts. Checkpoints are saved every 1,000 steps
    /// and at the end of each epoch; the newest two are kept.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        RunFolder {
            saver: Checkpointer::new(&dir).every(Every::steps(1000).or(Every::epochs(1))).keep_last(2),
            metrics_every: Some(Every::steps(10).or(Every::epochs(1))),
            flight: FlightRecorder::new(dir.join(FLIGHT)),
            has_flight: true,
            records: Records::new(dir.clone()),
            profile: None,
            starts_over: false,
            dir,
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Changes the cadence and the retention of checkpoints.
    pub fn checkpoints(mut self, change: impl FnOnce(Checkpointer) -> Checkpointer) -> Self {
        self.saver = change(self.saver);
        self
    }

    /// The cadence of metrics; every 10 steps and every epoch by default.
    pub fn metrics_every(mut self, every: Every) -> Self {
        self.metrics_every = Some(every);
        self
    }

    /// Leaves out the logs of metrics.
    pub fn without_metrics(mut self) -> Self {
        self.metrics_every = None;
        self
    }

    /// Changes the recorder of the last steps: gives it the loader that tells the indices of their samples.
    ///
    /// ```
    /// # use regimen::data::Loader;
    /// # use regimen::folder::RunFolder;
    /// # fn example(loader: &Loader<Vec<f32>>) {
    /// let folder = RunFolder::new("runs/mine").flight(|recorder| recorder.samples_of(loader));
    /// # drop(folder);
    /// # }
    /// ```
    pub fn flight(mut self, change: impl FnOnce(FlightRecorder) -> FlightRecorder) -> Self {
        self.flight = change(self.flight);
        self
    }

    /// Leaves out `flight.json`.
    pub fn without_flight(mut self) -> Self {
        self.has_flight = false;
        self
    }

    /// The recorder of the last steps, for a [watchdog](crate::callback::Watchdog::flight).
    pub fn flight_recorder(&self) -> &FlightRecorder {
        &self.flight
    }

    /// Leaves out `environment.jsonl`, which has the command line and the name of the machine.
    pub fn without_environment(mut self) -> Self {
        self.records.environment = false;
        self
    }

    /// Leaves out `log.txt`.
    pub fn without_notices(mut self) -> Self {
        self.records.notices = false;
        self
    }

    /// Gives the run the probe of `profile`, and writes its [JSON](Profile::write_json) and its
    /// [trace](Profile::write_trace) at the end of each call that trains.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// Does not restore the newest checkpoint. A folder with checkpoints of another run is refused when
    /// training starts.
    pub fn without_restore(mut self) -> Self {
        self.starts_over = true;
        self
    }

    /// Gives `run` its saver and its logs, and restores the newest checkpoint if there is one:
    /// [`Run::restored`] says which. Add other callbacks with saved state before, so that they are
    /// restored too.
    pub fn open<'a, U: AppState + ?Sized>(self, run: Run<'a, U>) -> Result<Run<'a, U>, Error> {
        let pause = PauseFile::in_dir(&self.dir);
        let mut run = run.saver(self.saver).callback(pause).callback(self.records);
        if let Some(every) = self.metrics_every {
            run = run.callback(MetricLog::jsonl(self.dir.join(METRICS)).every(every));
            run = run.callback(MetricLog::tensorboard(self.dir.join("tensorboard")).every(every));
        }
        if let Some(profile) = self.profile {
            run = run.probe(profile.probe()).callback(ProfileFiles::new(self.dir, profile));
        }
        if self.has_flight {
            run = run.callback(self.flight);
        }
        if !self.starts_over {
            run.restore_latest()?;
        }
        Ok(run)
    }
}

impl fmt::Debug for RunFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunFolder").field("dir", &self.dir).finish_non_exhaustive()
    }
}
