//! The queue to the server, and the thread that sends it.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::client::{Client, Failure};
use super::entry::{Batch, Entry, MOST};
use super::spool::{Piece, Spool};
use super::tracked_run::{Start, TrackedRun, update};
use crate::BoxError;

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
    /// The entries of the batch that is being sent.
    in_flight: Vec<Entry>,
    files: VecDeque<Upload>,
    status: Option<Status>,
    /// Titles of entries that the server refused. They are not sent again.
    refused: BTreeSet<String>,
    /// The first entry came at this time.
    since: Instant,
    is_sending: bool,
    /// Do not wait for more entries.
    hurry: bool,
    /// Failures in a row, with the text of the last one.
    failures: u32,
    failure: String,
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

/// The status of a run. It is the last that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Running,
    /// With the time of the end.
    Ended(&'static str, u64),
}

/// The next request.
enum Job {
    Begin,
    Spooled(Piece),
    /// A copy of the entries in flight.
    Queued(Vec<Entry>),
    Upload(Upload),
    Status(Status),
}

/// The most entries in memory. Further ones go to the spool file.
const ROOM: usize = 100_000;
/// The most bytes of pictures and texts in memory. Further ones are left out.
const ROOM_OF_FILES: usize = 64 << 20;
/// The longest time that training waits for the server.
const PATIENCE: Duration = Duration::from_secs(5);

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
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
            in_flight: Vec::new(),
            files: VecDeque::new(),
            status: None,
            refused: BTreeSet::new(),
            since: Instant::now(),
            is_sending: false,
            hurry: false,
            failures: 0,
            failure: String::new(),
            retry_at: None,
            refusal: None,
            is_closed: false,
            notices: Vec::new(),
        };
        match run {
            Some(run) => inner.begun(run),
            // The caller has told so.
            None => inner.failures = TOLD_AT,
        }
        let shared = Arc::new(Shared { inner: Mutex::new(inner), changed: Condvar::new() });
        let sender = Arc::clone(&shared);
        let spawned = thread::Builder::new().name("mlflow".into()).spawn(move || sender.send(&client, &start));
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
        if size(&file) > 0 && inner.files.iter().map(size).sum::<usize>() + size(&file) > ROOM_OF_FILES {
            let path = &file.path;
            inner.notices.push(format!("{path} is left out of the MLflow run: too many files wait for the server"));
        } else {
            inner.files.push_back(file);
            self.0.changed.notify_all();
        }
    }

    /// Sets the status, behind all else.
    pub(super) fn status(&self, status: Status) {
        self.0.lock().status = Some(status);
        self.0.changed.notify_all();
    }

    /// Waits until all is sent: at most 5 seconds, and only while the server answers. Entries that are left then
    /// are durable in the spool file, from which they are sent later.
    pub(super) fn flush(&self) -> Result<(), BoxError> {
        let mut inner = self.0.lock();
        inner.hurry = true;
        self.0.changed.notify_all();
        let is_waiting = |inner: &mut Inner| inner.is_busy() && inner.failures < LOST_AT && inner.refusal.is_none();
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
            (inner.failures, inner.retry_at) = (0, None);
        }
        self.flush()?;
        let inner = self.0.lock();
        let mut left = Vec::new();
        let mut spool = String::new();
        if inner.spool.left() > 0 {
            left.push(format!("{} metrics, parameters and tags", inner.spool.left()));
            spool = format!(
                "; the metrics are in {}, and are sent when the run goes on from its checkpoint{}",
                inner.spool.path().display(),
                inner.run.as_ref().map(|run| format!(" or with MLFLOW_RUN_ID={}", run.id)).unwrap_or_default()
            );
        }
        left.extend(inner.files.iter().map(|file| file.path.clone()));
        left.extend(inner.status.map(|_| "the status of the run".to_owned()));
        if left.is_empty() {
            return Ok(());
        }
        let why = match (&inner.refusal, &*inner.failure) {
            (Some(refusal), _) => refusal,
            (None, "") => "it is slow",
            (None, failure) => failure,
        };
        Err(format!("{} did not reach MLflow: {why}{spool}", left.join(", ")).into())
    }

    /// Messages since the last call.
    pub(super) fn notices(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().notices)
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
                (Job::Status(status), Some(run)) => update(client, &status.body(&run.id)),
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
            let now = Instant::now();
            let wait = match inner.due_at() {
                Some(at) if at <= now => match inner.take_job() {
                    Ok(job) => {
                        inner.is_sending = true;
                        return Some((job, inner.run.clone()));
                    }
                    Err(cause) => {
                        inner.refusal = Some(cause.to_string());
                        self.changed.notify_all();
                        continue;
                    }
                },
                Some(at) => at - now,
                None => Duration::from_secs(3600),
            };
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

    fn take_job(&mut self) -> Result<Job, BoxError> {
        let Some(run) = &self.run else { return Ok(Job::Begin) };
        if self.spool.left() > 0 {
            let mut piece = self.spool.next()?;
            let is_inherited = piece.is_inherited;
            piece.entries.retain(|entry| is_wanted(run, &self.spool, &self.refused, entry, is_inherited));
            return Ok(Job::Spooled(piece));
        }
        if !self.entries.is_empty() {
            let mut batch = Batch::default();
            while let Some(entry) = self.entries.pop_front() {
                if !is_wanted(run, &self.spool, &self.refused, &entry, false) {
                    continue;
                }
                if let Err(entry) = batch.add(entry) {
                    self.entries.push_front(entry);
                    break;
                }
            }
            self.in_flight.clone_from(&batch.entries);
            return Ok(Job::Queued(batch.entries));
        }
        Ok(match (self.files.pop_front(), self.status) {
            (Some(file), _) => Job::Upload(file),
            (None, Some(status)) => Job::Status(status),
            (None, None) => Job::Queued(Vec::new()),
        })
    }

    fn begun(&mut self, run: TrackedRun) {
        if let Err(cause) = self.spool.rename(&run.id) {
            self.notices.push(cause.to_string());
        }
        self.run = Some(Arc::new(run));
    }

    fn refused(&mut self, entries: Vec<(Entry, String)>) {
        for (entry, why) in entries {
            let title = entry.title();
            if !self.refused.contains(&title) {
                self.notices.push(format!("the {title} is left out of the MLflow run: {why}"));
                self.refused.insert(title);
            }
        }
    }

    /// Counts a request as made, or puts its content back.
    fn settle(&mut self, job: Job, sent: Result<(), Failure>) {
        let Err(failure) = sent else {
            (self.failures, self.retry_at) = (0, None);
            self.failure.clear();
            match job {
                Job::Spooled(piece) => self.spool.advance(&piece),
                Job::Queued(_) => self.in_flight.clear(),
                Job::Status(status) if self.status == Some(status) => self.status = None,
                Job::Begin | Job::Upload(_) | Job::Status(_) => {}
            }
            return;
        };
        // Unless a flush has moved them to the spool file.
        for entry in self.in_flight.drain(..).rev() {
            self.entries.push_front(entry);
        }
        match job {
            Job::Upload(file) if failure.is_refusal() => {
                self.notices.push(format!("{} is left out of the MLflow run: {failure}", file.path));
                return;
            }
            _ if failure.is_refusal() => {
                self.refusal = Some(failure.to_string());
                return;
            }
            Job::Upload(file) => self.files.push_front(file),
            _ => {}
        }
        self.failures = self.failures.saturating_add(1);
        self.failure = failure.to_string();
        if self.failures == TOLD_AT {
            self.notices.push(format!("{failure}; metrics wait here, and are sent when it answers again"));
        }
        let pause = Duration::from_millis(250_u64 << (self.failures - 1).min(8)).min(Duration::from_secs(60));
        let asked = failure.pause.unwrap_or_default().min(Duration::from_secs(600));
        // A fraction more, so that many runs do not come back at once.
        let jitter = pause.mul_f64(f64::from(now() as u32 % 256) / 1024.0);
        self.retry_at = Some(Instant::now() + asked.max(pause) + jitter);
    }

    /// Moves all entries to the spool file. A batch in flight goes as well; it does no harm there.
    fn spool_all(&mut self) -> Result<(), BoxError> {
        self.spool.append(self.in_flight.iter().chain(&self.entries))?;
        self.in_flight.clear();
        self.entries.clear();
        Ok(())
    }
}

/// Whether an entry is sent. The server has the points of a step that is repeated after a resume, or gets them
/// from the `inherited` part of the spool file. Their times differ, so they would be second points.
fn is_wanted(
    run: &TrackedRun,
    spool: &Spool,
    refused: &BTreeSet<String>,
    entry: &Entry,
    is_inherited: bool,
) -> bool {
    let is_repeated = match entry {
        Entry::Metric { key, step, .. } => !is_inherited && (run.has(key, *step) || spool.has(key, *step)),
        Entry::Param { .. } | Entry::Tag { .. } => false,
    };
    !is_repeated && (refused.is_empty() || !refused.contains(&entry.title()))
}

impl Upload {
    fn send(&self, client: &Client, run: &TrackedRun) -> Result<(), Failure> {
        let Some(folder) = &run.files else {
            return Err(client.refusal("the server does not store its files (`--serve-artifacts`)".into()));
        };
        let path = format!("{folder}/{}", self.path);
        match &self.content {
            Content::Bytes(bytes) => client.put(&path, bytes),
            Content::File(file) => match File::open(file) {
                Ok(file) => client.put(&path, file),
                Err(cause) => Err(client.refusal(format!("cannot read {}: {cause}", file.display()))),
            },
        }
    }
}

impl Status {
    fn body(self, run_id: &str) -> Value {
        match self {
            Status::Running => json!({"run_id": run_id, "status": "RUNNING"}),
            Status::Ended(status, at) => json!({"run_id": run_id, "status": status, "end_time": at}),
        }
    }
}
