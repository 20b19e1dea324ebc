//! The trait between checkpoints and the disk: eight operations, and three that only some stores need.

mod disk;
mod sim_disk;

pub use disk::Disk;
pub use sim_disk::SimDisk;

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;

/// A place for checkpoints: [`Disk`](super::Disk), or [`SimDisk`](super::SimDisk) in tests.
///
/// Nothing is durable until it was synced, and each sync is a separate call: the content of a file
/// by [`NewFile::sync`], the names in a directory by [`sync_dir`](Store::sync_dir).
pub trait Store: fmt::Debug + Send + Sync {
    /// Lists the entries of `dir`, in no particular order.
    fn list(&self, dir: &Path) -> io::Result<Vec<StoreEntry>>;

    /// Creates the directory `dir`. Fails with [`AlreadyExists`](io::ErrorKind::AlreadyExists) if it
    /// exists, and with [`NotFound`](io::ErrorKind::NotFound) if its parent does not.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Creates the file `file`, to be written from its beginning. Fails with
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if it exists.
    fn create(&self, file: &Path) -> io::Result<Box<dyn NewFile>>;

    /// Opens `file` to read it from its beginning.
    fn open(&self, file: &Path) -> io::Result<OpenFile>;

    /// Gives `from` the name `to`, in one step. A directory that is not empty is not replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names that `dir` holds durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, file: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Whether files can be created in one directory from several processes or machines, each of which sees those of
    /// the others before the directory is renamed. A checkpoint of [every rank's
    /// writing](super::Checkpointer::every_rank_writes) needs it. Default: no.
    fn is_shared(&self) -> bool {
        false
    }

    /// Acquires the right to be the one writer of `dir`, which is held until the lock is dropped. It is an error if
    /// another process holds it. Returns `None` if the store has no locks, as by default. [`Disk`](super::Disk) has
    /// none because the [`LockFile`](super::LockFile) of a run directory is acquired before anything is written.
    fn lock(&self, dir: &Path) -> io::Result<Option<Box<dyn StoreLock>>> {
        let _ = dir;
        Ok(None)
    }

    /// Removes what a process that died has left for `dir`, if [`list`](Store::list) does not show it. Does nothing by
    /// default.
    fn sweep(&self, dir: &Path) -> io::Result<()> {
        let _ = dir;
        Ok(())
    }
}

/// The right to write to a directory of a store, until it is dropped.
pub trait StoreLock: fmt::Debug + Send + Sync {
    /// Checks that the lock is held. It is an error if another process has taken it.
    fn renew(&self) -> io::Result<()>;
}

/// A file that is being written.
pub trait NewFile: Write + Send {
    /// Makes what was written durable.
    ///
    /// The file is given up, so that a sync that failed cannot be tried again: a system may drop
    /// the data it could not write and then call the next sync of it a success.
    fn sync(self: Box<Self>) -> io::Result<()>;
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreEntry {
    /// The name, without the directory.
    pub name: String,
    /// Whether it is a directory; a link to one is none.
    pub is_dir: bool,
}

/// A file that is being read.
pub struct OpenFile {
    /// Its length in bytes when it was opened.
    pub length: u64,
    /// Its bytes.
    pub bytes: Box<dyn Read + Send>,
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFile").field("length", &self.length).finish_non_exhaustive()
    }
}

/// Creates `dir` and its parents, as far as they do not exist, and makes each of them durable.
pub(crate) fn create_dirs(store: &dyn Store, dir: &Path) -> io::Result<()> {
    match store.create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return sync_found(store, dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound && dir.parent().is_some() => {
            create_dirs(store, parent(dir))?;
            store.create_dir(dir)?;
        }
        made => {
            made?;
            sync_found(store, parent(dir))?;
        }
    }
    store.sync_dir(parent(dir))
}

/// Makes the name of a directory durable that was there: the process that made it may have died
/// before it came to that.
fn sync_found(store: &dyn Store, dir: &Path) -> io::Result<()> {
    match store.sync_dir(parent(dir)) {
        // What is in a directory that we may not read was not made by us.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// The directory that holds `path`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}
