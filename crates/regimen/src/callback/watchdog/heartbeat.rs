//! The heartbeat: a file with the newest event.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use super::{Seen, unpacked};
use crate::replace_file::replace_file;

/// The least time between two writes, and the longest wait for the last.
const SECOND: Duration = Duration::from_secs(1);

/// The file, and its last write.
pub(super) struct Heartbeat {
    path: PathBuf,
    /// The newest event in the file.
    written: u64,
    /// The time of the last write, since the start of the call.
    at: Option<Duration>,
}

impl Heartbeat {
    pub(super) fn new(path: PathBuf) -> Self {
        Heartbeat { path, written: 0, at: None }
    }

    /// Writes until `call` has ended, and once more then. A write that fails may be the
    /// outage of a moment, so the next is tried.
    fn run(&mut self, seen: &Seen, call: &Receiver<()>) {
        let (began, newest) = (Instant::now(), || seen.newest.load(Ordering::Relaxed));
        let mut has_failed = false;
        let mut beat = |now| {
            if let Err(cause) = self.beat(newest(), now)
                && !std::mem::replace(&mut has_failed, true)
            {
                let path = self.path.display();
                seen.fail(format!("cannot write the heartbeat {path}: {cause}; it is tried again"));
            }
        };
        beat(None);
        while call.recv_timeout(SECOND / 10) == Err(RecvTimeoutError::Timeout) {
            beat(Some(began.elapsed()));
        }
        beat(None);
    }

    /// Writes it, if it is due `now`; at once without a time.
    pub(super) fn beat(&mut self, newest: u64, now: Option<Duration>) -> io::Result<()> {
        let is_early = now.zip(self.at).is_some_and(|(now, at)| now.saturating_sub(at) < SECOND);
        if is_early || now.is_some() && newest == self.written {
            return Ok(());
        }
        (self.written, self.at) = (newest, Some(now.unwrap_or(Duration::ZERO)));
        let (event, step) = unpacked(newest);
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        replace_file(&self.path, format!("{{\"event\":\"{event}\",\"step\":{step}}}\n").as_bytes())
    }
}

/// The thread that writes it, until the watchdog is dropped. A write may take for ever, so nobody joins it.
pub(super) struct Heart {
    path: PathBuf,
    calls: Sender<Served>,
}

/// A call for the thread: disconnected when it ends, and when its last event is written.
pub(super) type Served = (Receiver<()>, Sender<Infallible>);

impl Heart {
    pub(super) fn start(heartbeat: Heartbeat, seen: Arc<Seen>) -> io::Result<Self> {
        let (heart, calls) = Heart::of(&heartbeat);
        let serve = move || serve(heartbeat, &calls, &seen);
        Builder::new().name("watchdog-heartbeat".into()).spawn(serve)?;
        Ok(heart)
    }

    /// Without its thread, which gets the calls.
    pub(super) fn of(heartbeat: &Heartbeat) -> (Self, Receiver<Served>) {
        let (calls, received) = channel();
        (Heart { path: heartbeat.path.clone(), calls }, received)
    }

    /// A call begins. A thread that still writes for an earlier one comes to it when that is done.
    pub(super) fn begin(&self) -> Beating {
        let ((ends, ended), (is_done, done)) = (channel(), channel());
        let _ = self.calls.send((ended, is_done));
        Beating { ends, done, path: self.path.clone() }
    }
}

/// Writes the heartbeat in each of `calls`.
pub(super) fn serve(mut heartbeat: Heartbeat, calls: &Receiver<Served>, seen: &Seen) {
    for (call, _done) in calls {
        heartbeat.run(seen, &call);
    }
}

/// The heartbeat of a call.
pub(super) struct Beating {
    ends: Sender<()>,
    done: Receiver<Infallible>,
    path: PathBuf,
}

impl Beating {
    /// Has the last event written. A disk that does not answer within a second is left alone, with its thread.
    pub(super) fn end(self, seen: &Seen) {
        drop(self.ends);
        if self.done.recv_timeout(SECOND) == Err(RecvTimeoutError::Timeout) {
            let path = self.path.display();
            seen.fail(format!("the heartbeat {path} is not written within a second; it is tried again"));
        }
    }
}
