//! The lock file: one writer per run directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use regimen_core::BoxError;

use crate::checkpoint::error::{CheckpointError, failed};
use crate::same_file::is_same_file;
use crate::system::host_name;

/// The right to write to a run directory, until it is dropped.
///
/// It is a lock of the operating system on the file `LOCK`. The system releases it when the process
/// ends, however it ends, so a dead process leaves no lock behind. The file stays: removing it could
/// take it from a third process.
///
/// If somebody removes the file while it is held, a second process can acquire another lock. So each
/// save checks that the file is still the one that is locked. If it is not, the lock is acquired again,
/// or the save fails because another process holds it.
#[derive(Debug)]
pub struct LockFile {
    dir: PathBuf,
    file: Mutex<File>,
}

impl LockFile {
    /// Acquires the lock of the directory `dir`, which must exist, and does not wait for it.
    ///
    /// If another process holds it, or another part of this one, the error says which.
    pub fn acquire(dir: &Path) -> Result<Self, CheckpointError> {
        Ok(LockFile { dir: dir.to_owned(), file: Mutex::new(acquire(dir)?) })
    }

    /// Acquires the lock again if the file that is locked is no longer in the directory.
    pub(crate) fn renew(&self) -> Result<(), CheckpointError> {
        let mut held = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let found = std::fs::metadata(self.dir.join(LOCK));
        let is_held = match (&found, held.metadata()) {
            (Ok(found), Ok(held)) => is_same_file(found, &held),
            (Err(error), _) => error.kind() != ErrorKind::NotFound,
            (_, Err(_)) => true,
        };
        if !is_held {
            *held = acquire(&self.dir)?;
        }
        Ok(())
    }
}

/// Releases the lock, which closing the file alone does not if the process has just forked: the child
/// has the file open until it runs its own program.
impl Drop for LockFile {
    fn drop(&mut self) {
        let _ = self.file.get_mut().unwrap_or_else(PoisonError::into_inner).unlock();
    }
}

const LOCK: &str = "LOCK";

fn acquire(dir: &Path) -> Result<File, CheckpointError> {
    let path = dir.join(LOCK);
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let file = match options {
        // It belongs to another user, who may hold it now: that can be asked all the same.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => File::open(&path).map_err(|_| error),
        opened => opened,
    };
    let mut file = file.map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(CheckpointError::new("write to", dir, refusal(&mut file)));
        }
        Err(TryLockError::Error(error)) => return Err(CheckpointError::new("lock", &path, error)),
    }
    // On a full disk it stays unsigned: the disk may be cleared under this very lock.
    let _ = sign(&mut file);
    Ok(file)
}

/// Writes the holder of the lock to the file.
fn sign(file: &mut File) -> Result<(), BoxError> {
    file.set_len(0)?;
    Ok(writeln!(file, "process {} on {}", std::process::id(), host_name())?)
}

fn refusal(file: &mut File) -> String {
    let mut holder = String::new();
    if file.read_to_string(&mut holder).is_err() || holder.is_empty() {
        // It was acquired a moment ago and is not signed yet.
        holder = "another process".to_owned();
    }
    let since = file.metadata().and_then(|metadata| metadata.modified()).ok();
    let since = since.and_then(|taken| taken.elapsed().ok());
    let since = since.map(|age| format!(" since {} s", age.as_secs())).unwrap_or_default();
    format!("{} writes to it{since}; a run directory has one writer at a time", holder.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_dropped_is_free_although_a_child_has_its_file_open() {
        let dir = tempfile::tempdir().unwrap();
        let lock = LockFile::acquire(dir.path()).unwrap();
        let _in_a_child = lock.file.lock().unwrap().try_clone().unwrap();
        drop(lock);
        LockFile::acquire(dir.path()).unwrap();
    }
}
