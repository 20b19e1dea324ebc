//! One case while it is run: what was read, what it took, and what was broken.

use std::fmt::Display;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use regimen::BoxError;

use super::memory::peak;

/// What every reader may hold beside a multiple of its file: buffers, and tables of decoders.
pub(super) const FLOOR: usize = 256 * 1024;

/// A promise that was broken.
#[derive(Debug)]
pub(super) enum Fault {
    /// The reader panicked.
    Panic(String),
    /// What was read is not what the second reader found.
    Mismatch(String),
    /// The case itself cannot be run.
    Broken(String),
}

impl From<BoxError> for Fault {
    fn from(error: BoxError) -> Self {
        Fault::Broken(error.to_string())
    }
}

/// One case.
#[derive(Debug)]
pub(super) struct Trial {
    folder: PathBuf,
    /// The size of what was read: of the file, or of what is in it.
    pub(super) size: usize,
    /// The most bytes the reader held at a time.
    pub(super) peak: usize,
    /// The reader took the file.
    pub(super) is_read: bool,
}

impl Trial {
    /// One that writes its files to `folder`.
    pub(super) fn new(folder: &Path) -> Self {
        Trial { folder: folder.to_owned(), size: 0, peak: 0, is_read: false }
    }

    /// Where its files are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes `bytes` to the file called `name`, and returns its path.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, BoxError> {
        let path = self.folder.join(name);
        fs::write(&path, bytes)?;
        Ok(path)
    }

    /// Lets a reader of ours read what is `size` bytes large. What it refuses, and why, is the inner
    /// error; a panic is a fault.
    pub(super) fn read<T>(
        &mut self,
        size: usize,
        read: impl FnOnce() -> Result<T, BoxError>,
    ) -> Result<Result<T, String>, Fault> {
        let before = PANICS.load(Relaxed);
        let (outcome, peak) = peak(|| catch_unwind(AssertUnwindSafe(read)));
        (self.size, self.peak) = (self.size.max(size), self.peak.max(peak));
        // Also one that a guard has made an error of: nothing of ours may panic.
        let outcome = outcome.ok().filter(|_| PANICS.load(Relaxed) == before);
        let outcome = outcome.ok_or_else(|| Fault::Panic(last_panic()))?;
        self.is_read |= outcome.is_ok();
        Ok(outcome.map_err(|error| error.to_string()))
    }
}

/// A mismatch, unless `holds`.
pub(super) fn demand(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault::Mismatch(otherwise())) }
}

/// What `read` has given must be what `second` has: a whole file is read, and what a second reader
/// refuses is not.
pub(super) fn same<T: PartialEq + std::fmt::Debug>(
    is_whole: bool,
    read: Result<T, String>,
    second: Result<T, impl Display>,
) -> Result<(), Fault> {
    match (read, second) {
        (Ok(read), Ok(second)) => demand(read == second, || format!("{read:?}, and {second:?} is there")),
        (Ok(read), Err(why)) => Err(Fault::Mismatch(format!("{read:?} is read, and {why}"))),
        (Err(why), _) => demand(!is_whole, || format!("a whole file is refused: {why}")),
    }
}

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Notes what panics say, in place of printing it.
pub(super) fn note_panics() {
    std::panic::set_hook(Box::new(|panic| {
        PANICS.fetch_add(1, Relaxed);
        if let Ok(mut last) = LAST_PANIC.lock() {
            *last = panic.to_string();
        }
    }));
}

fn last_panic() -> String {
    LAST_PANIC.lock().map_or_else(|_| String::new(), |last| last.clone())
}
