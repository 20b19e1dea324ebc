//! The heartbeat: a file with the newest event.

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

    /// Writes until `ended` is disconnected, and once more then.
    fn run(&mut self, seen: &Seen, ended: &Receiver<()>) -> io::Result<()> {
        let (began, newest) = (Instant::now(), || seen.newest.load(Ordering::Relaxed));
        self.beat(newest(), None)?;
        while ended.recv_timeout(SECOND / 10) == Err(RecvTimeoutError::Timeout) {
            self.beat(newest(), Some(began.elapsed()))?;
        }
        self.beat(newest(), None)
    }

    /// Writes it, if it is due `now`; at once without a time.
    pub(super) fn beat(&mut self, newest: u64, now: Option<Duration>) -> io::Result<()> {
        let is_early = now.zip(self.at).is_some_and(|(now, at)| now.saturating_sub(at) < SECOND);
        if is_early || now.is_some() && newest == self.written {
            return Ok(());
        }
        let (event, step) = unpacked(newest);
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        replace_file(&self.path, format!("{{\"event\":\"{event}\",\"step\":{step}}}\n").as_bytes())?;
        (self.written, self.at) = (newest, Some(now.unwrap_or(Duration::ZERO)));
        Ok(())
    }
}

/// The thread that writes it during a call.
pub(super) struct Beating {
    pub(super) ends: Sender<()>,
    /// Returns the heartbeat at the end, or `None` if a write failed.
    pub(super) done: Receiver<Option<Heartbeat>>,
    pub(super) path: PathBuf,
}

impl Beating {
    pub(super) fn start(mut heartbeat: Heartbeat, seen: Arc<Seen>) -> io::Result<Self> {
        let ((ends, ended), (returns, done), path) = (channel(), channel(), heartbeat.path.clone());
        Builder::new().name("watchdog-heartbeat".into()).spawn(move || {
            let result = heartbeat.run(&seen, &ended).map_err(|cause| {
                let path = heartbeat.path.display();
                seen.fail(format!("cannot write the heartbeat {path}: {cause}; it is not written any more"));
            });
            let _ = returns.send(result.is_ok().then_some(heartbeat));
        })?;
        Ok(Beating { ends, done, path })
    }

    /// Has the last event written. A disk that does not answer within a second is left alone, with its thread.
    pub(super) fn end(self, seen: &Seen) -> Option<Heartbeat> {
        drop(self.ends);
        self.done.recv_timeout(SECOND).unwrap_or_else(|_| {
            let path = self.path.display();
            seen.fail(format!(
                "the heartbeat {path} is not written within a second; it is not written any more"
            ));
            None
        })
    }
}
