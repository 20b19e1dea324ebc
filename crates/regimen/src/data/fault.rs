//! Errors about samples and files, and panics as errors.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use regimen_core::BoxError;
use regimen_core::error::panic_text;
use regimen_core::text::Count;

/// A sample that could not be read, or does not fit its batch.
#[derive(Debug)]
pub struct SampleError {
    dataset: String,
    index: usize,
    cause: BoxError,
}

impl SampleError {
    pub(crate) fn new(dataset: impl Into<String>, index: usize, cause: BoxError) -> Self {
        SampleError { dataset: dataset.into(), index, cause }
    }

    /// The name of the dataset.
    pub fn dataset(&self) -> &str {
        &self.dataset
    }

    /// The index of the sample in it.
    pub fn index(&self) -> usize {
        self.index
    }
}

impl fmt::Display for SampleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dataset `{}` sample {}: {}", self.dataset, self.index, self.cause)
    }
}

impl std::error::Error for SampleError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // Its text has the text of the cause in it.
        self.cause.source()
    }
}

/// The error of an index beyond the end of a dataset.
pub(crate) fn out_of_range(len: usize) -> BoxError {
    format!("it has {} only", Count(len as u64, "sample")).into()
}

/// An error about the file at `path`.
pub(crate) fn file_error(path: &Path, cause: impl fmt::Display) -> BoxError {
    format!("file `{}`: {cause}", path.display()).into()
}

/// So many failures with no sample between them are a source that is broken, not bad samples in it.
pub(crate) const FAILURES_IN_A_ROW: u64 = 1000;

/// Calls `f` and makes a panic of it an error. Values that `f` changes are not used after a panic.
pub(crate) fn catch<T>(f: impl FnOnce() -> Result<T, BoxError>) -> Result<T, BoxError> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        let error = panicked(&*payload);
        // A payload is free to panic when it is dropped, and nothing would catch that.
        std::mem::forget(payload);
        Err(error)
    })
}

fn panicked(payload: &(dyn Any + Send)) -> BoxError {
    format!("panicked: {}", panic_text(payload)).into()
}
