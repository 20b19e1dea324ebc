//! The replacement of a file as a whole.

use std::ffi::OsString;
use std::path::Path;
use std::{fs, io};

/// Replaces the file at `path`: a process that is killed leaves the old one or the new one, and so does a full
/// disk. It need not survive a power cut, so it is not synced.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, |new| fs::write(new, bytes))
}

/// The same for a file that `write` makes at the path that it is given, where there is none.
pub(crate) fn replace_with<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let mut new = OsString::from(path);
    new.push(".new");
    let new = Path::new(&new);
    // Of a process that was killed.
    match fs::remove_file(new) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause.into()),
        _ => {}
    }
    let replaced = write(new).and_then(|()| fs::rename(new, path).map_err(E::from));
    // A full disk holds only a part of it.
    replaced.inspect_err(|_| drop(fs::remove_file(new)))
}
