//! One case while it runs: its input, its memory and its violation.

use std::fmt::Display;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use regimen::BoxError;

use super::corpus::Drawn;
use super::memory::peak;

/// Memory allowed to every reader in addition to a multiple of its file: buffers and decoder tables.
pub(super) const FLOOR: usize = 256 * 1024;

/// A broken promise.
#[derive(Debug)]
pub(super) enum Fault {
    /// The reader panicked.
    Panic(String),
    /// The result differs from that of the second reader.
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
    /// Input size in bytes: of the file, or of its uncompressed contents.
    pub(super) size: usize,
    /// Peak memory of the reader, in bytes.
    pub(super) peak: usize,
    /// The reader accepted the file.
    pub(super) is_read: bool,
}

impl Trial {
    /// Creates a trial that writes its files to `folder`.
    pub(super) fn new(folder: &Path) -> Self {
        Trial { folder: folder.to_owned(), size: 0, peak: 0, is_read: false }
    }

    /// The folder of its files.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes `bytes` to the file `name`, and returns its path.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, BoxError> {
        let path = self.folder.join(name);
        fs::write(&path, bytes)?;
        Ok(path)
    }

    /// Runs a reader on an input of `size` bytes. The inner error is the reader's refusal; a panic
    /// is a fault.
    pub(super) fn read<T>(
        &mut self,
        size: usize,
        read: impl FnOnce() -> Result<T, BoxError>,
    ) -> Result<Result<T, String>, Fault> {
        let before = PANICS.load(Relaxed);
        let (outcome, peak) = peak(|| catch_unwind(AssertUnwindSafe(read)));
        (self.size, self.peak) = (self.size.max(size), self.peak.max(peak));
        // Caught panics count too: no reader may panic.
        let outcome = outcome.ok().filter(|_| PANICS.load(Relaxed) == before);
        let outcome = outcome.ok_or_else(|| Fault::Panic(last_panic()))?;
        self.is_read |= outcome.is_ok();
        Ok(outcome.map_err(|error| error.to_string()))
    }
}

/// Returns a mismatch unless `holds`.
pub(super) fn demand(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault::Mismatch(otherwise())) }
}

/// Compares `read` with `second`: a valid file must be read, and a file that the second reader
/// refuses must not.
pub(super) fn same<T: PartialEq + std::fmt::Debug>(
    is_whole: bool,
    read: Result<T, String>,
    second: Result<T, impl Display>,
) -> Result<(), Fault> {
    match (read, second) {
        (Ok(read), Ok(second)) => demand(read == second, || format!("{read:?}, and {second:?} is there")),
        (Ok(read), Err(why)) => Err(Fault::Mismatch(format!("{read:?} is read, and {why}"))),
        (Err(why), _) => demand(!is_whole, || format!("a valid file is refused: {why}")),
    }
}

/// A log that was refused for `why` must not be valid, and must be as it was drawn.
pub(super) fn refused(drawn: &Drawn, why: &str, after: &[u8]) -> Result<(), Fault> {
    demand(!drawn.is_whole, || format!("a valid log is refused: {why}"))?;
    let changed = || format!("a log that is refused has become {:?}", String::from_utf8_lossy(after));
    demand(after == drawn.bytes, changed)
}

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Records panic messages instead of printing them.
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
