//! The queue to the server, and the thread that sends it.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{mem, thread};

use super::client::{Client, Failure};
use super::entry::{Batch, Entry, MOST};
use super::spool::{Piece, Spool};
use super::tracked_run::{Start, TrackedRun, update};
use crate::BoxError;
use crate::text::Count;
use crate::time::since_1970;

/// Entries, files and a status on their way to the server. A thread sends them; this handle never waits for it
/// except in [`flush`](Queue::flush).
///
/// Entries are sent in the order in which they came: those of the spool file first, which are older. A batch that
/// may have arrived is sent again, because the server knows a point that it has.
#[derive(Debug)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    run: Option<Arc<TrackedRun>>,
    spool: Spool,
    entries: VecDeque<Entry>,
    /// Entries at the front that are being sent.
    in_flight: usize,
    files: VecDeque<Arc<Upload>>,
    status: Option<Status>,
    /// Titles of entries that the server refused, which are not sent again, and refusals of files.
    refused: BTreeSet<String>,
    /// The first entry came at this time.
    since: Instant,
    is_sending: bool,
    /// Do not wait for more entries.
    hurry: bool,
    /// Failures in a row, with the text of the last one.
    failures: u32,
    failure: String,
    is_told: bool,
    retry_at: Option<Instant>,
    /// The server refuses the run: nothing can be sent.
    refusal: Option<String>,
    is_closed: bool,
    notices: Vec<String>,
}

/// A file for the run.
#[derive(Debug)]
pub(super) struct Upload {
    /// Its path among the files of the run.
    pub(super) path: String,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// The next request.
enum Job {
    Begin,
    Spooled(Piece),
    /// Those of the entries in flight that the server is to get.
    Queued(Vec<Entry>),
    Upload(Arc<Upload>),
    Status(Status),
}

/// A status, with the time of the end.
type Status = (&'static str, Option<u64>);

/// The most entries in memory. Further ones go to the spool file.
const ROOM: usize = 100_000;
/// The most bytes of pictures and texts in memory. Further ones are left out.
const ROOM_OF_FILES: usize = 64 << 20;
/// The longest time that training waits for the server.
const PATIENCE: Duration = Duration::from_secs(5);

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    since_1970().as_millis() as u64
}

impl Queue {
    /// Starts the thread. It begins `start` if there is no `run` yet.
    pub(super) fn start(
        client: Client,
        start: Start,
        run: Option<TrackedRun>,
        spool: Spool,
    ) -> Result<Self, BoxError> {
        let mut inner = Inner {
            run: None,
            spool,
            entries: VecDeque::new(),
            in_flight: 0,
            files: VecDeque::new(),
            status: None,
            refused: BTreeSet::new(),
            since: Instant::now(),
            is_sending: false,
            hurry: false,
            failures: 0,
            failure: String::new(),
            // The caller tells of a run that could not begin.
            is_told: run.is_none(),
            retry_at: None,
            refusal: None,
            is_closed: false,
            notices: Vec::new(),
        };
        if let Some(run) = run {
            inner.begun(run);
        }
        let shared = Arc::new(Shared { inner: Mutex::new(inner), changed: Condvar::new() });
        let sender = Arc::clone(&shared);
        let spawned =
            thread::Builder::new().name("mlflow".into()).spawn(move || sender.send(&client, &start));
        spawned.map_err(|cause| format!("cannot start the thread that sends to MLflow: {cause}"))?;
        Ok(Queue(shared))
    }

    /// The id of the run; `None` if the server did not answer yet.
    pub(super) fn run_id(&self) -> Option<String> {
        self.0.lock().run.as_ref().map(|run| run.id.clone())
    }

    /// Adds entries. If there is no room for them, those in memory go to the spool file.
    pub(super) fn push(&self, entries: impl IntoIterator<Item = Entry>) -> Result<(), BoxError> {
        let mut inner = self.0.lock();
        if let Some(refusal) = &inner.refusal {
            return Err(refusal.clone().into());
        }
        if inner.entries.len() >= ROOM {
            inner.spool_all()?;
        }
        if inner.entries.is_empty() {
            inner.since = Instant::now();
        }
        inner.entries.extend(entries);
        self.0.changed.notify_all();
        Ok(())
    }

    /// Adds a file. A picture or a text is left out if too many are waiting.
    pub(super) fn upload(&self, file: Upload) {
        let mut inner = self.0.lock();
        let size = |file: &Upload| if let Content::Bytes(bytes) = &file.content { bytes.len() } else { 0 };
        let waiting: usize = inner.files.iter().map(|file| size(file)).sum();
        if size(&file) > 0 && waiting + size(&file) > ROOM_OF_FILES {
            let path = &file.path;
            inner
                .notices
                .push(format!("{path} is left out of the MLflow run: too many files wait for the server"));
        } else {
            inner.files.push_back(Arc::new(file));
            self.0.changed.notify_all();
        }
    }

    /// Sets the status, with the time of the end. It is sent behind all else.
    pub(super) fn status(&self, status: &'static str, end: Option<u64>) {
        self.0.lock().status = Some((status, end));
        self.0.changed.notify_all();
    }

    /// Waits until all is sent: at most 5 seconds, and only while the server answers. Metrics that are left then are
    /// durable in the spool file, from which they are sent later. Parameters and tags are sent by each process.
    pub(super) fn flush(&self) -> Result<(), BoxError> {
        let mut inner = self.0.lock();
        inner.hurry = true;
        self.0.changed.notify_all();
        let is_waiting =
            |inner: &mut Inner| inner.is_busy() && inner.failures < LOST_AT && inner.refusal.is_none();
        let waited = self.0.changed.wait_timeout_while(inner, PATIENCE, is_waiting);
        let (mut inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        inner.hurry = false;
        inner.spool_all()?;
        inner.spool.sync()
    }

    /// Gives an absent server another chance, then flushes. Returns an error that names all that is left.
    pub(super) fn end(&self) -> Result<(), BoxError> {
        {
            let mut inner = self.0.lock();
            (inner.failures, inner.retry_at, inner.is_told) = (0, None, true);
        }
        self.flush()?;
        let inner = self.0.lock();
        let (mut left, mut remedy) = (Vec::new(), String::new());
        if inner.spool.left() > 0 {
            left.push(Count(inner.spool.left(), "value").to_string());
            let path = inner.spool.path().display();
            remedy =
                format!("; the values are in {path}, and are sent when the run goes on from its checkpoint");
            if let Some(run) = &inner.run {
                remedy += &format!(" or with MLFLOW_RUN_ID={}", run.id);
            }
        }
        left.extend(inner.files.iter().map(|file| file.path.clone()));
        left.extend(inner.status.map(|_| "the status of the run".to_owned()));
        if left.is_empty() {
            return Ok(());
        }
        let why = match (&inner.refusal, &*inner.failure) {
            (Some(refusal), _) => refusal,
            (None, "") => "the server is slow",
            (None, failure) => failure,
        };
        Err(format!("not sent to MLflow: {}: {why}{remedy}", left.join(", ")).into())
    }

    /// Messages since the last call.
    pub(super) fn notices(&self) -> Vec<String> {
        mem::take(&mut self.0.lock().notices)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

/// The number of failures in a row that is told: one alone may be a connection that the server closed.
const TOLD_AT: u32 = 2;
/// The number of failures in a row after which nobody waits for the server.
const LOST_AT: u32 = 4;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread.
    fn send(&self, client: &Client, start: &Start) {
        while let Some((job, run)) = self.next() {
            let mut refused = Vec::new();
            let mut begun = None;
            let sent = match (&job, &run) {
                (Job::Begin, _) | (_, None) => {
                    TrackedRun::begin(client, start, now()).map(|run| begun = Some(run))
                }
                (Job::Spooled(Piece { entries, .. }) | Job::Queued(entries), Some(run)) => {
                    run.log(client, entries, &mut refused)
                }
                (Job::Upload(file), Some(run)) => file.send(client, run),
                (Job::Status((status, end)), Some(run)) => update(client, &run.id, status, *end),
            };
            let mut inner = self.lock();
            if inner.is_closed {
                return;
            }
            inner.is_sending = false;
            if let Some(run) = begun {
                inner.begun(run);
            }
            inner.refused(refused);
            inner.settle(job, sent);
            self.changed.notify_all();
        }
    }

    /// Waits for the next request. Returns `None` if there will be no other.
    fn next(&self) -> Option<(Job, Option<Arc<TrackedRun>>)> {
        let mut inner = self.lock();
        while !inner.is_closed && inner.refusal.is_none() {
            let (now, due_at) = (Instant::now(), inner.due_at());
            if due_at.is_some_and(|at| at <= now) {
                match inner.next_job() {
                    Ok(job) => {
                        inner.is_sending = true;
                        return Some((job, inner.run.clone()));
                    }
                    Err(cause) => inner.refusal = Some(cause.to_string()),
                }
                self.changed.notify_all();
            }
            let wait = due_at.map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(now));
            inner = self.changed.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        None
    }
}

impl Inner {
    /// Whether anything is on its way.
    fn is_busy(&self) -> bool {
        self.is_sending
            || self.run.is_none()
            || self.spool.left() > 0
            || !self.entries.is_empty()
            || !self.files.is_empty()
            || self.status.is_some()
    }

    /// The time of the next request; `None` if there is none to make.
    fn due_at(&self) -> Option<Instant> {
        let is_gathering = self.spool.left() == 0 && !self.entries.is_empty() && self.run.is_some();
        let is_gathering = is_gathering && self.entries.len() < MOST && !self.hurry;
        let gathered_at = if is_gathering { self.since + Duration::from_secs(1) } else { self.since };
        self.is_busy().then(|| self.retry_at.map_or(gathered_at, |at| at.max(gathered_at)))
    }

    fn next_job(&mut self) -> Result<Job, BoxError> {
        let Some(run) = &self.run else { return Ok(Job::Begin) };
        if self.spool.left() > 0 {
            let mut piece = self.spool.next()?;
            if !piece.is_inherited {
                piece.entries.retain(|entry| is_wanted(run, &self.refused, entry));
            }
            return Ok(Job::Spooled(piece));
        }
        if !self.entries.is_empty() {
            let mut batch = Batch::default();
            let is_added =
                |entry: &&Entry| !is_wanted(run, &self.refused, entry) || batch.add((*entry).clone());
            self.in_flight = self.entries.iter().take_while(is_added).count();
            return Ok(Job::Queued(batch.entries));
        }
        Ok(match (self.files.front(), self.status) {
            (Some(file), _) => Job::Upload(Arc::clone(file)),
            (None, Some(status)) => Job::Status(status),
            (None, None) => Job::Queued(Vec::new()),
        })
    }

    fn begun(&mut self, mut run: TrackedRun) {
        for (key, step) in &self.spool.latest {
            let latest = run.latest.entry(key.clone()).or_default();
            *latest = (*latest).max(*step);
        }
        if let Err(cause) = self.spool.rename(&run.id) {
            self.notices.push(cause.to_string());
        }
        self.run = Some(Arc::new(run));
    }

    fn refused(&mut self, entries: Vec<(Entry, String)>) {
        for (entry, why) in entries {
            if self.refused.insert(entry.title()) {
                self.notices.push(format!("the {} is left out of the MLflow run: {why}", entry.title()));
            }
        }
    }

    /// Removes the content of a request that was made, or sets the time of the next try.
    fn settle(&mut self, job: Job, sent: Result<(), Failure>) {
        // 0 if a flush has moved them to the spool file.
        let in_flight = mem::take(&mut self.in_flight);
        let Err(failure) = sent else {
            (self.failures, self.retry_at, self.is_told) = (0, None, false);
            self.failure.clear();
            match job {
                Job::Begin => {}
                Job::Spooled(piece) => self.spool.advance(&piece),
                Job::Queued(_) => drop(self.entries.drain(..in_flight)),
                Job::Upload(_) => drop(self.files.pop_front()),
                Job::Status(status) => self.status = self.status.filter(|newer| *newer != status),
            }
            return;
        };
        if failure.is_refusal() {
            match job {
                Job::Upload(file) => {
                    self.files.pop_front();
                    if self.refused.insert(failure.to_string()) {
                        self.notices.push(format!("{} is left out of the MLflow run: {failure}", file.path));
                    }
                }
                _ => self.refusal = Some(failure.to_string()),
            }
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.failure = failure.to_string();
        if self.failures >= TOLD_AT && !mem::replace(&mut self.is_told, true) {
            self.notices.push(format!("{failure}; metrics wait here, and are sent when it answers again"));
        }
        let pause = Duration::from_millis(250_u64 << (self.failures - 1).min(8)).min(Duration::from_secs(60));
        let asked = failure.pause.unwrap_or_default().min(Duration::from_secs(600));
        // A fraction more, so that many runs do not come back at once.
        let jitter = pause.mul_f64(f64::from(now() as u32 % 256) / 1024.0);
        self.retry_at = Some(Instant::now() + asked.max(pause) + jitter);
    }

    /// Moves the metrics to the spool file. A batch in flight goes as well: it may be sent twice.
    fn spool_all(&mut self) -> Result<(), BoxError> {
        self.in_flight = 0;
        let is_metric = |entry: &Entry| matches!(entry, Entry::Metric { .. });
        let (metrics, others): (Vec<_>, Vec<_>) = self.entries.drain(..).partition(is_metric);
        let spooled = self.spool.append(&metrics);
        if spooled.is_err() {
            self.entries.extend(metrics);
        }
        self.entries.extend(others);
        spooled
    }
}

/// Whether an entry of this process is sent. The server has the points of a step that is repeated after a resume, or
/// gets them from the spool file of an earlier process. Their times differ, so they would be second points.
fn is_wanted(run: &TrackedRun, refused: &BTreeSet<String>, entry: &Entry) -> bool {
    let is_repeated = matches!(entry, Entry::Metric { key, step, .. } if run.has(key, *step));
    !is_repeated && (refused.is_empty() || !refused.contains(&entry.title()))
}

impl Upload {
    fn send(&self, client: &Client, run: &TrackedRun) -> Result<(), Failure> {
        let Some(folder) = &run.files else {
            return Err(Failure::refused("the server does not store its files (`--serve-artifacts`)".into()));
        };
        let path = format!("{folder}/{}", self.path);
        match &self.content {
            Content::Bytes(bytes) => client.put(&path, bytes),
            Content::File(file) => match File::open(file) {
                Ok(file) => client.put(&path, file),
                Err(cause) => Err(Failure::refused(format!("cannot read {}: {cause}", file.display()))),
            },
        }
    }
}
