//! How a checkpointer opens its run directory: under a lock that it holds from the first call on.

use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use regimen_core::BoxError;

use super::background::{Background, Desk};
use crate::checkpoint::directory::writer::lock_dir;
use crate::checkpoint::{CheckpointError, Checkpointer, Lock, Writer};

impl Checkpointer {
    /// Opens the run directory for writing, where it is not open yet.
    pub(crate) fn open(&mut self) -> Result<&mut Background, BoxError> {
        let background = match self.background.take() {
            Some(background) => background,
            None => Background::new(self.open_desk()?),
        };
        Ok(self.background.insert(background))
    }

    fn open_desk(&mut self) -> Result<Desk, BoxError> {
        let lock = self.lock()?;
        let run = self.run.get_or_insert_with(new_run).clone();
        let writer = match lock {
            Some(lock) => Writer::under(lock, &self.dir, run)?,
            None => Writer::open_on(self.store_or_disk(), &self.dir, run)?,
        };
        let listing = self.checkpoints().list()?;
        let manifests = listing.checkpoints.iter().map(|checkpoint| checkpoint.manifest());
        let run = self.run.as_deref();
        if let Some(other) = manifests.into_iter().find(|other| other.resumable && Some(&*other.run) != run) {
            let dir = self.dir.display();
            return Err(format!(
                "`{dir}` holds checkpoints of another run, the newest of step {}: restore it to go on with \
                 it, or give another directory",
                other.step
            )
            .into());
        }
        for failure in writer.sweep().failures {
            self.saves.fail(failure.to_string());
        }
        let (keep, saves) = (self.keep.clone(), self.saves.clone());
        Ok(Desk { writer, keep, on_saved: self.on_saved.clone(), saves })
    }

    /// Takes the lock of the run directory, which is then held until the checkpointer is gone. None
    /// for another store than this machine's disk.
    fn lock(&mut self) -> Result<Option<Arc<Lock>>, CheckpointError> {
        if self.lock.is_none() && self.store.is_none() {
            self.lock = Some(Arc::new(lock_dir(&self.dir)?));
        }
        Ok(self.lock.clone())
    }

    /// The same for a call that may well save nothing: where this process may not write, it has
    /// nothing to keep others from.
    pub(crate) fn lock_if_writable(&mut self) -> Result<(), BoxError> {
        match self.lock() {
            Err(error) if is_not_writable(&error) => Ok(()),
            locked => Ok(locked.map(drop)?),
        }
    }
}

fn is_not_writable(error: &CheckpointError) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| {
        matches!(cause.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
    })
}

/// A name for a run that no other has: 128 random bits.
fn new_run() -> String {
    use std::hash::{BuildHasher, RandomState};
    let random = || RandomState::new().hash_one(std::time::SystemTime::now());
    format!("{:016x}{:016x}", random(), random())
}
