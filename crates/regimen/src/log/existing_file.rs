//! The handling of a log file that exists.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The handling of an earlier run's log by a run that is not restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExistingFile {
    /// Keeps it under the next free name (`metrics.csv.1`, then `.2`), and begins a new file.
    #[default]
    Rename,
    /// Writes after its end. A last row that a power cut has torn is no record: it is cut off, with
    /// a notice.
    Append,
    /// Empties it.
    Overwrite,
}

/// Renames `path` to the first of `path.1`, `path.2` ... that is free.
pub(super) fn set_aside(path: &Path) -> io::Result<()> {
    free_name(path).map_or(Ok(()), |name| fs::rename(path, name))
}

/// The first of `path.1`, `path.2` ... that is free.
pub(super) fn free_name(path: &Path) -> Option<PathBuf> {
    let numbered = |n: u64| {
        let mut name = OsString::from(path);
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    (1..).map(numbered).find(|name| fs::symlink_metadata(name).is_err())
}
