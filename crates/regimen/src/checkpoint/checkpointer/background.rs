//! Writing off the loop's thread: one save at a time, and none that nobody waits for.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use regimen_core::error::panic_text;

use crate::checkpoint::format::finite::Finite;
use crate::checkpoint::{Checkpoint, CheckpointError, Keep, Saves, Snapshot, Writer};

/// Told of every checkpoint right after it was acknowledged.
pub(crate) type OnSaved = Arc<dyn Fn(&Checkpoint) + Send + Sync>;

/// Writes snapshots one after another. Dropping it waits for the one under way.
#[derive(Debug)]
pub(crate) struct Background {
    desk: Arc<Mutex<Desk>>,
    saves: Saves,
    under_way: Option<UnderWay>,
}

/// Where a snapshot is written: on a thread, or it has been already.
#[derive(Debug)]
enum UnderWay {
    Thread(JoinHandle<Result<(), String>>),
    Done(Result<(), String>),
}

/// What is needed to write. It goes to the thread for the time of one save.
pub(crate) struct Desk {
    pub(crate) writer: Writer,
    pub(crate) keep: Keep,
    pub(crate) on_saved: Option<OnSaved>,
    pub(crate) saves: Saves,
}

impl Background {
    pub(crate) fn new(desk: Desk) -> Self {
        let saves = desk.saves.clone();
        Background { desk: Arc::new(Mutex::new(desk)), saves, under_way: None }
    }

    /// Whether a snapshot is being written.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(&self.under_way, Some(UnderWay::Thread(thread)) if !thread.is_finished())
    }

    /// What came of the last write, once, when it is over.
    pub(crate) fn result(&mut self) -> Option<Result<(), String>> {
        if self.is_busy() { None } else { self.wait() }
    }

    /// Waits for the write that is under way. None where there is none whose result is unknown.
    pub(crate) fn wait(&mut self) -> Option<Result<(), String>> {
        let result = match self.under_way.take()? {
            UnderWay::Done(result) => result,
            UnderWay::Thread(thread) => thread.join().unwrap_or_else(|payload| Err(panicked(payload))),
        };
        Some(result.inspect_err(|why| self.saves.fail(why.clone())))
    }

    /// Writes `snapshot` on a thread of its own, if what must be finite is. The one before must be over.
    pub(crate) fn start(&mut self, snapshot: Arc<Snapshot>, finite: Option<Finite>) {
        let (desk, for_thread) = (Arc::clone(&self.desk), Arc::clone(&snapshot));
        let finite = Arc::new(finite);
        let there = Arc::clone(&finite);
        let thread = thread::Builder::new().name("regimen-save".to_owned());
        let save = |writer: &mut Writer, snapshot: &Snapshot| writer.save_beside(snapshot);
        match thread.spawn(move || write(&desk, &for_thread, Option::as_ref(&there), save)) {
            Ok(thread) => self.under_way = Some(UnderWay::Thread(thread)),
            // A system without threads to give still gets its checkpoint.
            Err(_) => self.write(&snapshot, Option::as_ref(&finite)),
        }
    }

    /// Writes `snapshot` on this thread. The one before must be over.
    pub(crate) fn write(&mut self, snapshot: &Snapshot, finite: Option<&Finite>) {
        let save = |writer: &mut Writer, snapshot: &Snapshot| writer.save(snapshot);
        self.under_way = Some(UnderWay::Done(write(&self.desk, snapshot, finite, save)));
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A failure stays where `Saves` can be asked for it: nobody else is left to tell.
        self.wait();
    }
}

/// Saves by `save` what can be gone on from, says so, and only then removes older ones.
fn write(
    desk: &Mutex<Desk>,
    snapshot: &Snapshot,
    finite: Option<&Finite>,
    save: impl FnOnce(&mut Writer, &Snapshot) -> Result<Checkpoint, CheckpointError>,
) -> Result<(), String> {
    let desk = &mut *desk.lock().unwrap_or_else(PoisonError::into_inner);
    let Desk { writer, keep, on_saved, saves } = desk;
    finite.map_or(Ok(()), |finite| finite.check(snapshot))?;
    let checkpoint = save(writer, snapshot).map_err(|error| error.to_string())?;
    saves.acknowledge(checkpoint.clone());
    if let Some(on_saved) = on_saved {
        on_saved(&checkpoint);
    }
    let removed = writer.prune(keep);
    removed.failures.into_iter().for_each(|failure| saves.fail(failure.to_string()));
    Ok(())
}

fn panicked(payload: Box<dyn Any + Send>) -> String {
    let text = format!("the thread that saves panicked: {}", panic_text(&*payload));
    // A payload is free to panic when it is dropped.
    std::mem::forget(payload);
    text
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Desk { writer, keep, saves, .. } = self;
        f.debug_struct("Desk")
            .field("writer", writer)
            .field("keep", keep)
            .field("saves", saves)
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
        let (saves, token) = (Saves::default(), Arc::new(()));
        let held = Arc::clone(&token);
        let on_saved: OnSaved = Arc::new(move |_| {
            let _held = &held;
            std::thread::sleep(Duration::from_millis(20));
        });
        let writer = Writer::open_on(Arc::new(SimDisk::new()), "/run", "run-1").unwrap();
        let desk = Desk { writer, keep: Keep::all(), on_saved: Some(on_saved), saves: saves.clone() };
        let mut background = Background::new(desk);
        background.start(Arc::default(), None);
        drop(background);
        assert_eq!((saves.saved(), Arc::strong_count(&token)), (1, 1));
    }
}
