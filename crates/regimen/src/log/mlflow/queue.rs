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
use crate::log::Flush;
use crate::text::Count;
use crate::time::since_1970;

/// Entries, files and a status on their way to the server. A thread sends them; this handle never waits for it
/// except in [`wait`](Queue::wait) and [`end`](Queue::end).
///
/// Entries are sent in the order in which they came: those of the spool file first, which are older. A batch that
/// may have arrived is sent again, because the server knows a point that it has. The status follows them. Files come
/// last, because a store of files may fail alone.
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
    /// The number of entries that were there before, and are sent or in the spool file.
    gone: u64,
    /// Entries at the front that are being sent.
    in_flight: usize,
    files: VecDeque<Arc<Upload>>,
    status: Option<Status>,
    /// Titles of entries that the server refused, which are not sent again, and reasons that left files out.
    refused: BTreeSet<String>,
    /// The first entry came at this time.
    since: Instant,
    /// The request under way.
    sending: Option<Kind>,
    /// Do not wait for more entries.
    hurry: bool,
    /// Whether the entries of the last push are lost.
    is_full: bool,
    requests: Outage,
    /// Uploads that failed while the server answered other requests.
    uploads: Outage,
    /// The server refuses the run: nothing can be sent.
    refusal: Option<String>,
    is_closed: bool,
    notices: Vec<String>,
}

/// Failures in a row, and the time of the next try.
#[derive(Debug, Default)]
struct Outage {
    failures: u32,
    /// The text of the last failure.
    text: String,
    is_told: bool,
    retry_at: Option<Instant>,
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

/// A request that can be made, by its kind.
#[derive(Clone, Debug)]
enum Kind {
    Begin,
    Spooled(Arc<TrackedRun>),
    Queued(Arc<TrackedRun>),
    Status(Arc<TrackedRun>, Status),
    Upload(Arc<TrackedRun>, Arc<Upload>),
}

/// A request with all that it sends.
enum Job {
    Begin,
    Spooled(Arc<TrackedRun>, Piece),
    /// Those of the entries in flight that the server is to get.
    Queued(Arc<TrackedRun>, Vec<Entry>),
    Status(Arc<TrackedRun>, Status),
    Upload(Arc<TrackedRun>, Arc<Upload>),
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
            gone: 0,
            in_flight: 0,
            files: VecDeque::new(),
            status: None,
            refused: BTreeSet::new(),
            since: Instant::now(),
            sending: None,
            hurry: false,
            is_full: false,
            // The caller tells of a run that could not begin.
            requests: Outage { is_told: run.is_none(), ..Outage::default() },
            uploads: Outage::default(),
            refusal: None,
            is_closed: false,
            notices: Vec::new(),
        };
        if let Some(run) = run {
            inner.begun(run, &start);
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

    /// Adds entries. If there is no room for them, those in memory go to the spool file. If that fails, the new ones
    /// are lost.
    pub(super) fn push(&self, entries: impl IntoIterator<Item = Entry>) -> Result<(), BoxError> {
        let mut inner = self.0.lock();
        let made_room = if inner.entries.len() < ROOM { Ok(()) } else { inner.spool_all() };
        inner.is_full = made_room.is_err();
        made_room?;
        if inner.entries.is_empty() {
            inner.since = Instant::now();
        }
        inner.entries.extend(entries);
        self.0.changed.notify_all();
        Ok(())
    }

    /// Whether the entries of the last push are sent sooner or later.
    pub(super) fn keeps_entries(&self) -> bool {
        !self.0.lock().is_full
    }

    /// Adds a file. A picture or a text is left out if too many are waiting.
    pub(super) fn upload(&self, file: Upload) {
        let mut inner = self.0.lock();
        let size = |file: &Upload| if let Content::Bytes(bytes) = &file.content { bytes.len() } else { 0 };
        let waiting: usize = inner.files.iter().map(|file| size(file)).sum();
        if size(&file) > 0 && waiting + size(&file) > ROOM_OF_FILES {
            inner.leave_out(&file, "too many files wait for the server");
        } else {
            inner.files.push_back(Arc::new(file));
            self.0.changed.notify_all();
        }
    }

    /// Sets the status, with the time of the end. It is sent behind the entries, and before the files.
    pub(super) fn status(&self, status: &'static str, end: Option<u64>) {
        self.0.lock().status = Some((status, end));
        self.0.changed.notify_all();
    }

    /// Waits until the entries so far are sent: at most 5 seconds, and only while the server answers. Entries that are
    /// left then are durable in the spool file, from which they are sent later. Another thread may do it.
    pub(super) fn flush_later(&self) -> Flush {
        let inner = self.0.lock();
        let (shared, newest) = (Arc::clone(&self.0), inner.gone + inner.entries.len() as u64);
        Box::new(move || shared.flush(newest))
    }

    /// The same until the status and the files are sent as well, and longer while a file is uploaded.
    pub(super) fn wait(&self) -> Result<(), BoxError> {
        let mut since = Instant::now();
        let mut inner = self.0.lock();
        inner.hurry = true;
        self.0.changed.notify_all();
        while inner.is_busy() && !inner.requests.is_long() && inner.refusal.is_none() {
            let is_uploading = inner.is_uploading();
            let rest = if is_uploading { PATIENCE } else { PATIENCE.saturating_sub(since.elapsed()) };
            if rest.is_zero() {
                break;
            }
            inner = self.0.changed.wait_timeout(inner, rest).unwrap_or_else(PoisonError::into_inner).0;
            if is_uploading {
                since = Instant::now();
            }
        }
        inner.hurry = false;
        inner.spool_all()?;
        self.0.sync(inner)
    }

    /// Gives an absent server another chance, then waits. Returns an error that names all that is left.
    pub(super) fn end(&self) -> Result<(), BoxError> {
        {
            let mut inner = self.0.lock();
            inner.requests.relent();
            inner.uploads.relent();
        }
        self.wait()?;
        self.0.lock().left()
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

impl Outage {
    /// Counts a failure. Returns whether it is to be told: one alone may be a connection that the server closed.
    fn add(&mut self, failure: &Failure) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.text = failure.to_string();
        let pause = Duration::from_millis(250_u64 << (self.failures - 1).min(8)).min(Duration::from_secs(60));
        let asked = failure.pause.unwrap_or_default().min(Duration::from_secs(600));
        // A fraction more, so that many runs do not come back at once.
        let jitter = pause.mul_f64(f64::from(now() as u32 % 256) / 1024.0);
        self.retry_at = Some(Instant::now() + asked.max(pause) + jitter);
        self.failures > 1 && !mem::replace(&mut self.is_told, true)
    }

    /// Whether nobody waits for its end.
    fn is_long(&self) -> bool {
        self.failures > 3
    }

    /// Allows a try at once. The caller tells of its failure.
    fn relent(&mut self) {
        (self.failures, self.retry_at, self.is_told) = (0, None, true);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the first `newest` entries are gone, as [`Queue::flush_later`] says.
    fn flush(&self, newest: u64) -> Result<(), BoxError> {
        let mut inner = self.lock();
        inner.hurry = true;
        self.changed.notify_all();
        let is_waiting =
            |inner: &mut Inner| inner.gone < newest && !inner.requests.is_long() && inner.refusal.is_none();
        let waited = self.changed.wait_timeout_while(inner, PATIENCE, is_waiting);
        let (mut inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        inner.hurry = false;
        if inner.gone < newest {
            inner.spool_all()?;
        }
        self.sync(inner)
    }

    /// Makes the spool file durable, without the lock: training may push meanwhile.
    fn sync(&self, inner: MutexGuard<'_, Inner>) -> Result<(), BoxError> {
        let sync = inner.spool.sync_later()?;
        drop(inner);
        sync()
    }

    /// The thread.
    fn send(&self, client: &Client, start: &Start) {
        while let Some(job) = self.next() {
            let (mut refused, mut begun, mut failed_upload) = (Vec::new(), None, None);
            let sent = match &job {
                Job::Begin => TrackedRun::begin(client, start, now()).map(|run| begun = Some(run)),
                Job::Spooled(run, Piece { entries, .. }) | Job::Queued(run, entries) => {
                    run.log(client, entries, &mut refused)
                }
                Job::Status(run, (status, end)) => update(client, &run.id, status, *end)
                    .or_else(|failure| run.check(client).and(Err(failure))),
                Job::Upload(run, file) => file.send(client, run).or_else(|failure| {
                    failed_upload = Some(failure);
                    // The server may be away, or its store of files alone.
                    run.check(client)
                }),
            };
            let mut inner = self.lock();
            if inner.is_closed {
                return;
            }
            inner.sending = None;
            if let Some(run) = begun {
                inner.begun(run, start);
            }
            inner.refused(refused);
            inner.settle(job, sent, failed_upload);
            self.changed.notify_all();
        }
    }

    /// Waits for the next request. Returns `None` if there will be no other.
    fn next(&self) -> Option<Job> {
        let mut inner = self.lock();
        while !inner.is_closed && inner.refusal.is_none() {
            let now = Instant::now();
            let due = inner.due(now);
            let wait =
                due.as_ref().map_or(Duration::from_secs(3600), |(at, _)| at.saturating_duration_since(now));
            if let Some((_, kind)) = due.filter(|_| wait.is_zero()) {
                match inner.job(kind.clone()) {
                    Ok(job) => {
                        inner.sending = Some(kind);
                        return Some(job);
                    }
                    Err(cause) => inner.refuse(cause.to_string()),
                }
                self.changed.notify_all();
                continue;
            }
            inner = self.changed.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        None
    }
}

impl Inner {
    /// The request under way, or else the next one.
    fn request(&self) -> Option<Kind> {
        self.sending.clone().or_else(|| self.due(Instant::now()).map(|(_, kind)| kind))
    }

    /// Whether anything is on its way. Files whose store fails are not.
    fn is_busy(&self) -> bool {
        match self.request() {
            Some(Kind::Upload(..)) => !self.uploads.is_long(),
            request => request.is_some(),
        }
    }

    /// Whether a file is on its way, at the first try.
    fn is_uploading(&self) -> bool {
        let is_upload = matches!(self.request(), Some(Kind::Upload(..)));
        is_upload && self.requests.failures == 0 && self.uploads.failures == 0
    }

    /// The next request and its time; `None` if there is none to make.
    fn due(&self, now: Instant) -> Option<(Instant, Kind)> {
        let (at, kind) = match &self.run {
            None => (now, Kind::Begin),
            Some(run) => self.due_in(run, now)?,
        };
        Some((self.requests.retry_at.map_or(at, |retry_at| at.max(retry_at)), kind))
    }

    fn due_in(&self, run: &Arc<TrackedRun>, now: Instant) -> Option<(Instant, Kind)> {
        let run = || Arc::clone(run);
        let entries = if !self.spool.is_empty() {
            Some((now, Kind::Spooled(run())))
        } else if !self.entries.is_empty() {
            let is_gathering = !self.hurry && self.entries.len() < MOST;
            let at = if is_gathering { self.since + Duration::from_secs(1) } else { now };
            Some((at, Kind::Queued(run())))
        } else {
            None
        };
        // The last status is behind all entries, the first one is not.
        let is_due = |(_, end): &Status| self.spool.is_empty() && (end.is_none() || self.entries.is_empty());
        let status = self.status.filter(is_due).map(|status| (now, Kind::Status(run(), status)));
        let upload = self.files.front().map(|file| Kind::Upload(run(), Arc::clone(file)));
        let upload = upload.map(|upload| (self.uploads.retry_at.unwrap_or(now), upload));
        [entries, status, upload].into_iter().flatten().min_by_key(|(at, _)| now.max(*at))
    }

    fn job(&mut self, kind: Kind) -> Result<Job, BoxError> {
        Ok(match kind {
            Kind::Begin => Job::Begin,
            Kind::Spooled(run) => {
                let mut piece = self.spool.next()?;
                let is_inherited = piece.is_inherited;
                piece.entries.retain(|entry| {
                    (is_inherited || !run.has(entry)) && !self.refused.contains(&entry.title())
                });
                Job::Spooled(run, piece)
            }
            Kind::Queued(run) => {
                let mut batch = Batch::default();
                let is_left_out = |entry: &Entry| run.has(entry) || self.refused.contains(&entry.title());
                let is_taken = |entry: &&Entry| is_left_out(entry) || batch.add((*entry).clone());
                self.in_flight = self.entries.iter().take_while(is_taken).count();
                Job::Queued(run, batch.entries)
            }
            Kind::Status(run, status) => Job::Status(run, status),
            Kind::Upload(run, file) => Job::Upload(run, file),
        })
    }

    fn begun(&mut self, mut run: TrackedRun, start: &Start) {
        if let Err(cause) = self.spool.move_to(&run.id) {
            self.notices.push(cause.to_string());
        }
        if let Some(newest) = run.latest.values().max().filter(|_| start.is_training && !run.is_resumed) {
            self.notices.push(format!(
                "the MLflow run {} has values up to step {newest} already, and this log was not restored from its \
                 checkpoint: a step that is logged again is a second point there; for a new run, set neither \
                 `run_id` nor MLFLOW_RUN_ID",
                run.id
            ));
        }
        // Behind the notice: these are the run's own, which the server gets now.
        for (key, step) in &self.spool.latest {
            let latest = run.latest.entry(key.clone()).or_default();
            *latest = (*latest).max(*step);
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

    /// Ends sending, for this process.
    fn refuse(&mut self, why: String) {
        let path = self.spool.path().display();
        self.notices.push(format!("{why}; no more is sent in this process; metrics are kept in {path}"));
        self.refusal = Some(why);
    }

    fn leave_out(&mut self, file: &Upload, why: &str) {
        let text = format!("{} is left out of the MLflow run: {why}", file.path);
        match file.content {
            Content::File(_) => self.notices.push(text),
            Content::Bytes(_) if self.refused.insert(why.to_owned()) => {
                self.notices.push(format!("{text}; further ones are not named"));
            }
            Content::Bytes(_) => {}
        }
    }

    /// Removes the content of a request that was made, or sets the time of the next try.
    fn settle(&mut self, job: Job, sent: Result<(), Failure>, failed_upload: Option<Failure>) {
        // 0 if a flush has moved them to the spool file.
        let in_flight = mem::take(&mut self.in_flight);
        let Err(failure) = sent else {
            self.requests = Outage::default();
            match job {
                Job::Begin => {}
                Job::Spooled(_, piece) => self.spool.advance(&piece),
                Job::Queued(..) => {
                    drop(self.entries.drain(..in_flight));
                    self.gone += in_flight as u64;
                    self.since = Instant::now();
                }
                Job::Status(_, status) => self.status = self.status.filter(|newer| *newer != status),
                Job::Upload(..) => self.uploaded(failed_upload),
            }
            return;
        };
        if failure.is_refusal() {
            return self.refuse(failure.to_string());
        }
        if self.requests.add(&failure) {
            self.notices.push(format!("{failure}; until then, metrics wait for it"));
        }
    }

    /// Removes the first file, which was uploaded or is refused. One that the store may take later is tried again
    /// behind the others.
    fn uploaded(&mut self, failure: Option<Failure>) {
        let Some(file) = self.files.pop_front() else { return };
        match failure {
            Some(failure) if !failure.is_refusal() => {
                if self.uploads.add(&failure) {
                    self.notices.push(format!("{failure}; files wait until it takes them"));
                }
                self.files.push_back(file);
                return;
            }
            Some(failure) => self.leave_out(&file, &failure.to_string()),
            None => {}
        }
        self.uploads = Outage::default();
    }

    /// Moves the entries to the spool file. A batch in flight goes as well: it may be sent twice.
    fn spool_all(&mut self) -> Result<(), BoxError> {
        self.in_flight = 0;
        self.spool.append(&self.entries)?;
        self.gone += self.entries.len() as u64;
        self.entries.clear();
        Ok(())
    }

    /// Returns an error that names all that is not sent, if anything is.
    fn left(&self) -> Result<(), BoxError> {
        let spooled = self.spool.left()?;
        let (artifacts, media): (Vec<_>, Vec<_>) =
            self.files.iter().partition(|file| matches!(file.content, Content::File(_)));
        let artifacts: BTreeSet<_> = artifacts.iter().map(|file| file.path.clone()).collect();
        let counts = [
            (spooled.values, "value"),
            (spooled.params, "parameter"),
            (spooled.tags, "tag"),
            (media.len() as u64, "logged file"),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        let mut left: Vec<_> = counts.map(|(count, thing)| Count(count, thing).to_string()).collect();
        left.extend(artifacts);
        left.extend(self.status.map(|_| "the status of the run".to_owned()));
        if left.is_empty() {
            return Ok(());
        }
        let reasons = [self.refusal.as_ref(), Some(&self.requests.text), Some(&self.uploads.text)];
        let why = reasons.into_iter().flatten().find(|why| !why.is_empty());
        let why = why.map_or("the server is slow", String::as_str);
        let mut remedy = String::new();
        if !self.spool.is_empty() {
            let path = self.spool.path().display();
            remedy = format!(
                "; {path} holds the values, parameters and tags, which are sent when the run goes on from its checkpoint"
            );
            if let Some(run) = &self.run {
                remedy += &format!(" or with MLFLOW_RUN_ID={}", run.id);
            }
        }
        Err(format!("not sent to MLflow: {}: {why}{remedy}", left.join(", ")).into())
    }
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
