//! What becomes of a file that is already there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What a run that begins anew does with a log of an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExistingFile {
    /// Keeps it under the next free name (`metrics.csv.1`, then `.2`), and begins a new file.
    #[default]
    Rename,
    /// Writes after its end. A last row that a power cut has torn is no record: it is cut off, and
    /// told as a notice.
    Append,
    /// Empties it.
    Overwrite,
}

/// Renames `path` to the first of `path.1`, `path.2` ... that is free.
pub(super) fn set_aside(path: &Path) -> io::Result<()> {
    let numbered = |n: u64| {
        let mut name = OsString::from(path);
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    let free = (1..).map(numbered).find(|name| fs::symlink_metadata(name).is_err());
    free.map_or(Ok(()), |name| fs::rename(path, name))
}
