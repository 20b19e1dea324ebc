//! The background writer: at most one save in flight. Dropping it joins the thread.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use regimen_core::BoxError;
use regimen_core::callback::BeforeCommit;
use regimen_core::error::{WithCauses, panic_text};

use super::finite::Finite;
use super::save_stats::SaveStats;
use crate::checkpoint::{Checkpoint, CheckpointError, Keep, Snapshot, Writer};

/// Called with every checkpoint right after it was acknowledged.
pub(super) type OnSaved = Arc<dyn Fn(&Checkpoint) + Send + Sync>;

/// Writes snapshots one after another, on a thread or on the caller's. Dropping it waits for the one
/// under way.
#[derive(Debug)]
pub(super) struct Background {
    archive: Arc<Mutex<Archive>>,
    stats: SaveStats,
    last: Option<Write>,
}

/// A write whose result was not read yet.
#[derive(Debug)]
enum Write {
    Thread(JoinHandle<Result<(), BoxError>>),
    Done(Result<(), BoxError>),
}

/// The conditions under which a snapshot is saved.
#[derive(Default)]
pub(super) struct Conditions {
    /// The arrays that must be finite.
    pub(super) finite: Option<Finite>,
    /// The work to be done before.
    pub(super) first: Vec<BeforeCommit>,
    /// When the copy of the state began.
    pub(super) began: Option<Instant>,
}

/// The checkpoints of the run: adds one, and removes those that are no longer kept. It goes to the
/// thread for the time of one save.
pub(super) struct Archive {
    pub(super) writer: Writer,
    pub(super) keep: Keep,
    pub(super) on_saved: Option<OnSaved>,
    pub(super) stats: SaveStats,
}

impl Background {
    pub(super) fn new(archive: Archive) -> Self {
        let stats = archive.stats.clone();
        Background { archive: Arc::new(Mutex::new(archive)), stats, last: None }
    }

    /// The archive, for a save that is made together with other ranks. No write may be pending.
    pub(super) fn archive(&self) -> &Mutex<Archive> {
        &self.archive
    }

    /// Whether a snapshot is being written.
    pub(super) fn is_busy(&self) -> bool {
        matches!(&self.last, Some(Write::Thread(thread)) if !thread.is_finished())
    }

    /// The result of the last write, once. Returns `None` while it is being written.
    pub(super) fn poll(&mut self) -> Option<Result<(), BoxError>> {
        if self.is_busy() { None } else { self.wait() }
    }

    /// Waits for the last write, and returns its result. Returns `None` if no write is pending.
    pub(super) fn wait(&mut self) -> Option<Result<(), BoxError>> {
        let result = match self.last.take()? {
            Write::Done(result) => result,
            Write::Thread(thread) => thread.join().unwrap_or_else(|payload| Err(panicked(payload).into())),
        };
        Some(result.inspect_err(|why| self.stats.fail(WithCauses(&**why).to_string())))
    }

    /// Writes `snapshot` on a separate thread. No write may be pending.
    pub(super) fn spawn(&mut self, snapshot: Arc<Snapshot>, conditions: Conditions) {
        let job = Arc::new((Arc::clone(&self.archive), snapshot, Mutex::new(conditions)));
        let for_thread = Arc::clone(&job);
        let add = move || {
            let (archive, snapshot, conditions) = &*for_thread;
            add(archive, snapshot, take(conditions), Writer::save_beside)
        };
        match thread::Builder::new().name("regimen-save".to_owned()).spawn(add) {
            Ok(thread) => self.last = Some(Write::Thread(thread)),
            // A system without threads to give still gets its checkpoint.
            Err(_) => self.run(&job.1, take(&job.2)),
        }
    }

    /// Writes `snapshot` on this thread. No write may be pending.
    pub(super) fn run(&mut self, snapshot: &Snapshot, conditions: Conditions) {
        self.last = Some(Write::Done(add(&self.archive, snapshot, conditions, Writer::save)));
    }
}

fn take(conditions: &Mutex<Conditions>) -> Conditions {
    std::mem::take(&mut *conditions.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Drop for Background {
    fn drop(&mut self) {
        // A failure stays in `SaveStats`: there is no caller left to receive it.
        self.wait();
    }
}

/// Saves a snapshot that a run can go on from, acknowledges it, and only then removes older ones.
fn add(
    archive: &Mutex<Archive>,
    snapshot: &Snapshot,
    conditions: Conditions,
    save: fn(&mut Writer, &Snapshot) -> Result<Checkpoint, CheckpointError>,
) -> Result<(), BoxError> {
    conditions.first.into_iter().try_for_each(|work| work())?;
    let archive = &mut *archive.lock().unwrap_or_else(PoisonError::into_inner);
    conditions.finite.map_or(Ok(()), |finite| finite.check(snapshot))?;
    let checkpoint = save(&mut archive.writer, snapshot)?;
    archive.acknowledge(checkpoint, conditions.began);
    Ok(())
}

impl Archive {
    /// Acknowledges a checkpoint that is durable, and only then removes older ones.
    pub(super) fn acknowledge(&mut self, checkpoint: Checkpoint, began: Option<Instant>) {
        let Archive { writer, keep, on_saved, stats } = self;
        stats.acknowledge(checkpoint.clone(), began.map(|began| began.elapsed()));
        if let Some(on_saved) = on_saved {
            on_saved(&checkpoint);
        }
        let pruned = writer.prune(keep);
        pruned.failures.into_iter().for_each(|failure| stats.fail(WithCauses(&failure).to_string()));
    }
}

fn panicked(payload: Box<dyn Any + Send>) -> String {
    let text = format!("the thread that saves panicked: {}", panic_text(&*payload));
    // A payload is free to panic when it is dropped.
    std::mem::forget(payload);
    text
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Archive { writer, keep, stats, .. } = self;
        f.debug_struct("Archive")
            .field("writer", writer)
            .field("keep", keep)
            .field("stats", stats)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::checkpoint::SimDisk;

    #[test]
    fn dropping_it_waits_for_the_save_under_way() {
        let (stats, token) = (SaveStats::default(), Arc::new(()));
        let held = Arc::clone(&token);
        let on_saved: OnSaved = Arc::new(move |_| {
            let _held = &held;
            std::thread::sleep(Duration::from_millis(20));
        });
        let writer = Writer::open_on(Arc::new(SimDisk::new()), "/run", "run-1").unwrap();
        let archive = Archive { writer, keep: Keep::all(), on_saved: Some(on_saved), stats: stats.clone() };
        let mut background = Background::new(archive);
        background.spawn(Arc::default(), Conditions::default());
        drop(background);
        assert_eq!((stats.saved(), Arc::strong_count(&token)), (1, 1));
    }
}
