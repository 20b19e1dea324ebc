//! The file system of this machine as a store.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::{NewFile, OpenFile, Store, StoreEntry};

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Store for Disk {
    fn list(&self, dir: &Path) -> io::Result<Vec<StoreEntry>> {
        list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)
    }

    fn create(&self, file: &Path) -> io::Result<Box<dyn NewFile>> {
        Ok(Box::new(DiskFile(OpenOptions::new().write(true).create_new(true).open(file)?)))
    }

    fn open(&self, file: &Path) -> io::Result<OpenFile> {
        let file = File::open(file)?;
        Ok(OpenFile { length: file.metadata()?.len(), bytes: Box::new(file) })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // Elsewhere a directory cannot be opened, and renames are written through.
        if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
    }

    fn remove_file(&self, file: &Path) -> io::Result<()> {
        fs::remove_file(file)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn is_shared(&self) -> bool {
        true
    }
}

struct DiskFile(File);

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NewFile for DiskFile {
    fn sync(self: Box<Self>) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// Not by [`fs::read_dir`]: what that returns panics when it is dropped and the close fails.
#[cfg(unix)]
fn list(dir: &Path) -> io::Result<Vec<StoreEntry>> {
    use rustix::fs::FileType;

    let mut entries = Vec::new();
    for entry in rustix::fs::Dir::new(File::open(dir)?)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_dir = match entry.file_type() {
            FileType::Unknown => fs::symlink_metadata(dir.join(&name))?.is_dir(),
            kind => kind == FileType::Directory,
        };
        if name != "." && name != ".." {
            entries.push(StoreEntry { name, is_dir });
        }
    }
    Ok(entries)
}

#[cfg(not(unix))]
fn list(dir: &Path) -> io::Result<Vec<StoreEntry>> {
    let entry = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        Ok(StoreEntry { name, is_dir: entry.file_type()?.is_dir() })
    };
    fs::read_dir(dir)?.map(entry).collect()
}
