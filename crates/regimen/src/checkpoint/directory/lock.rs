//! One writer a run directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use regimen_core::BoxError;

use crate::checkpoint::error::{CheckpointError, failed};

/// The right to write to a run directory, until it is dropped.
///
/// The system gives it back when the process ends, however it ends: there is no lock of a dead
/// process. The file `LOCK` stays, since removing it could take it from under a third process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the directory `dir`, which must exist, and does not wait for it.
    ///
    /// Where another process has it, or another part of this one, the error says which.
    pub fn take(dir: &Path) -> Result<Self, CheckpointError> {
        let path = dir.join("LOCK");
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = match options {
            // It is somebody else's, who may have it now: that can be asked all the same.
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
        // On a disk that is full it stays unsigned: what fills it may be removed under this very lock.
        let _ = sign(&mut file);
        Ok(Lock { _file: file })
    }
}

/// Says in the file who holds the lock.
fn sign(file: &mut File) -> Result<(), BoxError> {
    file.set_len(0)?;
    Ok(writeln!(file, "process {} on {}", std::process::id(), host())?)
}

fn refusal(file: &mut File) -> String {
    let mut holder = String::new();
    if file.read_to_string(&mut holder).is_err() || holder.is_empty() {
        // It was taken a moment ago and is not signed yet.
        holder = "another process".to_owned();
    }
    let since = file.metadata().and_then(|metadata| metadata.modified()).ok();
    let since = since.and_then(|taken| taken.elapsed().ok());
    let since = since.map(|age| format!(" since {} s", age.as_secs())).unwrap_or_default();
    format!("{} writes to it{since}; a run directory has one writer at a time", holder.trim_end())
}

/// The name of this machine.
fn host() -> String {
    let read = |file: &PathBuf| std::fs::read_to_string(file).ok();
    let name = ["/proc/sys/kernel/hostname", "/etc/hostname"].map(PathBuf::from).iter().find_map(read);
    let name = name.or_else(|| std::env::var("COMPUTERNAME").ok());
    name.map_or_else(|| "an unnamed host".to_owned(), |name| name.trim().to_owned())
}
