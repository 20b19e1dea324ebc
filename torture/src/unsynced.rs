//! A store that ignores every sync: the control of the power cuts.

use std::io::{self, Write};
use std::path::Path;

use regimen::checkpoint::{Disk, NewFile, OpenFile, Store, StoreEntry};

/// The local disk, without any sync.
#[derive(Debug)]
pub(crate) struct Unsynced;

impl Store for Unsynced {
    fn list(&self, dir: &Path) -> io::Result<Vec<StoreEntry>> {
        Disk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        Disk.create_dir(dir)
    }

    fn create(&self, file: &Path) -> io::Result<Box<dyn NewFile>> {
        Ok(Box::new(UnsyncedFile(Disk.create(file)?)))
    }

    fn open(&self, file: &Path) -> io::Result<OpenFile> {
        Disk.open(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove_file(&self, file: &Path) -> io::Result<()> {
        Disk.remove_file(file)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        Disk.remove_dir(dir)
    }
}

struct UnsyncedFile(Box<dyn NewFile>);

impl Write for UnsyncedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl NewFile for UnsyncedFile {
    fn sync(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}
