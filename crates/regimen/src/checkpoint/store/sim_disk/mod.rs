//! A disk in memory that can fail and lose its power, for tests of code over a store.

mod image;
mod survival;

use std::fmt;
use std::io::{self, Cursor, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use self::image::Image;
use crate::checkpoint::{NewFile, OpenFile, Store, StoreEntry};

/// A disk in memory that keeps two images: the one a running system sees, and the durable one.
///
/// Clones are the same disk. Every operation is counted, a read or write of a file included, so
/// that a test can first count those of a scenario and then fail it, or cut the power, at each:
///
/// ```
/// use std::path::Path;
/// use regimen::checkpoint::{SimDisk, Store};
///
/// let disk = SimDisk::new();
/// disk.cut_power_at(2);
/// disk.create_dir(Path::new("/runs"))?;
/// disk.sync_dir(Path::new("/"))?;
/// assert!(disk.create_dir(Path::new("/runs/digits")).is_err());
/// let rebooted = disk.after_power_cut(0);
/// assert_eq!(rebooted.list(Path::new("/"))?.len(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// It is harsher than file systems are. Each change of a directory that was not synced survives
/// or not, independently of those before it; a file that was not synced is empty, cut off, in
/// pieces, or as it was. Only a rename within a directory is never half done.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Shared>);

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    resumed: Condvar,
}

#[derive(Default)]
struct Inner {
    image: Image,
    operations: u64,
    cut_at: Option<u64>,
    failure: Option<(u64, ErrorKind)>,
    is_paused: bool,
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        SimDisk::default()
    }

    /// The number of operations so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Cuts the power before operation `n`, counted from 0: that one and all after it fail and do
    /// nothing.
    pub fn cut_power_at(&self, n: u64) {
        self.lock().cut_at = Some(n);
    }

    /// Fails operation `n`, counted from 0, once and with an error of `kind`. It does nothing.
    pub fn fail_at(&self, n: u64, kind: ErrorKind) {
        self.lock().failure = Some((n, kind));
    }

    /// Makes every operation wait until [`resume`](SimDisk::resume) is called, on another thread.
    pub fn pause(&self) {
        self.lock().is_paused = true;
    }

    /// Lets the operations that wait go on.
    pub fn resume(&self) {
        self.lock().is_paused = false;
        self.0.resumed.notify_all();
    }

    /// The disk as it may be found when the power comes back. `seed` decides which unsynced changes
    /// survived: 0 is nothing, 1 everything, any other number something in between.
    pub fn after_power_cut(&self, seed: u64) -> SimDisk {
        let image = self.lock().image.after_power_cut(seed);
        let inner = Mutex::new(Inner { image, ..Inner::default() });
        SimDisk(Arc::new(Shared { inner, ..Shared::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation and does it, unless it is to fail.
    fn operate<T>(&self, operation: impl FnOnce(&mut Image) -> io::Result<T>) -> io::Result<T> {
        let paused = |inner: &mut Inner| inner.is_paused;
        let resumed = self.0.resumed.wait_while(self.lock(), paused);
        let mut inner = resumed.unwrap_or_else(PoisonError::into_inner);
        inner.count()?;
        operation(&mut inner.image)
    }
}

impl Inner {
    fn count(&mut self) -> io::Result<()> {
        let n = self.operations;
        self.operations += 1;
        if self.cut_at.is_some_and(|cut_at| cut_at <= n) {
            return Err(io::Error::other("the power is off"));
        }
        match self.failure {
            Some((at, kind)) if at == n => Err(kind.into()),
            _ => Ok(()),
        }
    }
}

impl Store for SimDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<StoreEntry>> {
        self.operate(|image| image.list(dir))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.operate(|image| image.create_dir(dir))
    }

    fn create(&self, file: &Path) -> io::Result<Box<dyn NewFile>> {
        let node = self.operate(|image| image.create_file(file))?;
        Ok(Box::new(SimFile { disk: self.clone(), node }))
    }

    fn open(&self, file: &Path) -> io::Result<OpenFile> {
        let content = self.operate(|image| image.read(file))?;
        let length = content.len() as u64;
        let reader = SimReader { disk: self.clone(), content: Cursor::new(content) };
        Ok(OpenFile { length, bytes: Box::new(reader) })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(|image| image.rename(from, to))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.operate(|image| image.sync_dir(dir))
    }

    fn remove_file(&self, file: &Path) -> io::Result<()> {
        self.operate(|image| image.remove_file(file))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.operate(|image| image.remove_dir(dir))
    }

    /// Its clones are one disk.
    fn is_shared(&self) -> bool {
        true
    }
}

struct SimFile {
    disk: SimDisk,
    node: usize,
}

impl Write for SimFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.operate(|image| image.append(self.node, bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NewFile for SimFile {
    fn sync(self: Box<Self>) -> io::Result<()> {
        self.disk.operate(|image| image.sync_file(self.node))
    }
}

struct SimReader {
    disk: SimDisk,
    content: Cursor<Vec<u8>>,
}

impl Read for SimReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.disk.operate(|_| self.content.read(bytes))
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").field("operations", &self.operations()).finish_non_exhaustive()
    }
}
