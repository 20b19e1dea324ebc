//! The error of reading and writing checkpoints: the failed operation and its file.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use regimen_core::BoxError;
use regimen_core::error::WithCauses;

/// Something could not be done to a file or directory of a checkpoint.
///
/// The message names the file, and ends with that of the [cause](CheckpointError::cause).
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

    /// The cause, often an [`io::Error`](std::io::Error).
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.cause
    }
}

/// For `map_err`: turns a cause into the error of `doing` something to `path`.
pub(crate) fn failed<C: Into<BoxError>>(
    doing: &'static str,
    path: &Path,
) -> impl FnOnce(C) -> CheckpointError {
    move |cause| CheckpointError::new(doing, path, cause)
}

/// The error of a change that failed with `cause`, after an attempt to undo it.
pub(crate) fn undone(cause: BoxError, undo: Result<(), BoxError>) -> BoxError {
    let Err(undo) = undo else { return cause };
    let (cause, undo) = (WithCauses(&*cause), WithCauses(&*undo));
    format!("{cause}; and what was there before cannot be put back: {undo}").into()
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} `{}`: {}", self.doing, self.path.display(), self.cause)
    }
}

impl Error for CheckpointError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // Its text has the text of the cause in it.
        self.cause.source()
    }
}
