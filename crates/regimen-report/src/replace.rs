//! The replacement of a file as a whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use regimen::BoxError;

/// Replaces the file at `path` by what `write` writes: a process that is killed leaves the old one or the new one, and so
/// does a full disk.
pub(crate) fn replace<T>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<T, BoxError>,
) -> Result<T, BoxError> {
    let failed = |cause: io::Error| format!("cannot write {}: {cause}", path.display());
    let mut new = OsString::from(path);
    new.push(".new");
    let new = Path::new(&new);
    let mut file = BufWriter::new(File::create(new).map_err(failed)?);
    let written = write(&mut file).and_then(|result| {
        file.flush().map_err(failed)?;
        fs::rename(new, path).map_err(failed)?;
        Ok(result)
    });
    // A full disk holds only a part of it.
    written.inspect_err(|_| drop(fs::remove_file(new)))
}
