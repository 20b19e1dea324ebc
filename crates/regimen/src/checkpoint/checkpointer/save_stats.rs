//! Statistics of a checkpointer; they outlive it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::checkpoint::Checkpoint;

/// Statistics of a [`Checkpointer`](crate::checkpoint::Checkpointer): saves and failures.
///
/// Clones share one record, which outlives the checkpointer. A save that was under way when the run
/// was dropped is in it as well.
#[derive(Clone, Debug, Default)]
pub struct SaveStats(Arc<Mutex<Record>>);

#[derive(Debug, Default)]
struct Record {
    newest: Option<Checkpoint>,
    /// The newest that can be gone on from.
    resumable: Option<Checkpoint>,
    saved: u64,
    skipped: u64,
    failures: u64,
    last_failure: Option<String>,
    took: Option<Duration>,
}

impl SaveStats {
    /// The checkpoint acknowledged last.
    pub fn newest(&self) -> Option<Checkpoint> {
        self.lock().newest.clone()
    }

    /// The one acknowledged last that a run can go on from.
    pub(super) fn resumable(&self) -> Option<Checkpoint> {
        self.lock().resumable.clone()
    }

    /// The number of checkpoints acknowledged.
    pub fn saved(&self) -> u64 {
        self.lock().saved
    }

    /// The number of saves that were due while one was being written, and left out by
    /// [`skip_while_busy`](crate::checkpoint::Checkpointer::skip_while_busy).
    pub fn skipped(&self) -> u64 {
        self.lock().skipped
    }

    /// The number of times that a checkpoint could not be saved, or an old one not be removed.
    pub fn failures(&self) -> u64 {
        self.lock().failures
    }

    /// The text of the last failure.
    pub fn last_failure(&self) -> Option<String> {
        self.lock().last_failure.clone()
    }

    /// The time of the last save that a run can go on from, from the copy of the state to the acknowledgement.
    pub fn last_took(&self) -> Option<Duration> {
        self.lock().took
    }

    /// `took` is `None` for a save that was not measured.
    pub(super) fn acknowledge(&self, checkpoint: Checkpoint, took: Option<Duration>) {
        let mut record = self.lock();
        record.took = took.or(record.took);
        record.saved += 1;
        if checkpoint.manifest().resumable {
            record.resumable = Some(checkpoint.clone());
        }
        record.newest = Some(checkpoint);
    }

    #[cfg(test)]
    pub(super) fn set_took(&self, took: Duration) {
        self.lock().took = Some(took);
    }

    pub(super) fn skip(&self) {
        self.lock().skipped += 1;
    }

    pub(super) fn fail(&self, why: String) {
        let mut record = self.lock();
        record.failures += 1;
        record.last_failure = Some(why);
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
