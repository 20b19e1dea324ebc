//! The error of reading and writing checkpoints: the failed operation and its file.

use std::fmt;
use std::path::{Path, PathBuf};

use regimen_core::BoxError;

/// Something could not be done to a file or directory of a checkpoint.
///
/// The message names the file; the cause, often an [`io::Error`](std::io::Error), is in
/// [`source`](std::error::Error::source).
#[derive(Debug)]
pub struct CheckpointError {
    doing: &'static str,
    path: PathBuf,
    cause: BoxError,
}

impl CheckpointError {
    pub(crate) fn new(doing: &'static str, path: &Path, cause: impl Into<BoxError>) -> Self {
        CheckpointError { doing, path: path.to_owned(), cause: cause.into() }
    }

    /// The file or directory in question.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// For `map_err`: turns a cause into the error of `doing` something to `path`.
pub(crate) fn failed<C: Into<BoxError>>(
    doing: &'static str,
    path: &Path,
) -> impl FnOnce(C) -> CheckpointError {
    move |cause| CheckpointError::new(doing, path, cause)
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} `{}`: {}", self.doing, self.path.display(), self.cause)
    }
}

impl std::error::Error for CheckpointError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}
