//! The replacement of a file as a whole.

use std::ffi::OsString;
use std::path::Path;
use std::{fs, io};

/// Replaces the file at `path`: a process that is killed leaves the old one or the new one, and so does a full
/// disk. It need not survive a power cut, so it is not synced.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = OsString::from(path);
    new.push(".new");
    let replaced = fs::write(&new, bytes).and_then(|()| fs::rename(&new, path));
    // What a full disk holds of it is of no use.
    replaced.inspect_err(|_| drop(fs::remove_file(&new)))
}
