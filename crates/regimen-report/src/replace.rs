//! The replacement of a file as a whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process;

use regimen::BoxError;

use crate::lines;

/// What a file is known by that may be replaced.
pub(crate) struct Mark<'a> {
    /// The name of such files.
    pub(crate) kind: &'a str,
    /// Bytes near the beginning of all of them, and of no other file.
    pub(crate) bytes: &'a [u8],
    /// Whether other files are replaced too.
    pub(crate) replaces_any: bool,
}

/// The bytes in which a mark is looked for.
const HEAD: u64 = 128;

/// Writes a file by `write`. A file at `path` is replaced as a whole if it has the mark: a process that is killed leaves the
/// old one or the new one, and so does a full disk. A link stays, and what it names is replaced.
pub(crate) fn replace<T>(
    path: &Path,
    mark: &Mark<'_>,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<T, BoxError>,
) -> Result<T, BoxError> {
    let failed = |cause: io::Error| format!("cannot write {}: {cause}", path.display());
    let target = if path.is_symlink() { path.canonicalize().map_err(failed)? } else { path.to_owned() };
    check(path, &target, mark)?;
    let (new, file) = create_beside(&target).map_err(failed)?;
    let mut file = BufWriter::new(file);
    let written = write(&mut file).and_then(|result| {
        file.flush().map_err(failed)?;
        fs::rename(&new, &target).map_err(failed)?;
        Ok(result)
    });
    // A full disk holds only a part of it.
    written.inspect_err(|_| drop(fs::remove_file(&new)))
}

/// Whether `target` may be replaced.
fn check(path: &Path, target: &Path, mark: &Mark<'_>) -> Result<(), BoxError> {
    let shown = path.display();
    let failed = |cause: io::Error| format!("cannot replace {shown}: {cause}");
    let Some(file) = lines::open(target).map_err(failed)? else { return Ok(()) };
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head).map_err(failed)?;
    match mark.replaces_any || head.windows(mark.bytes.len()).any(|bytes| bytes == mark.bytes) {
        true => Ok(()),
        false => {
            Err(format!("{shown} exists and is no {}: remove it, or replace it by force", mark.kind).into())
        }
    }
}

/// Creates a file whose name is free in the folder of `target`.
fn create_beside(target: &Path) -> io::Result<(PathBuf, File)> {
    let mut n = 0_u64;
    loop {
        let mut name = OsString::from(target);
        name.push(format!(".{}-{n}.new", process::id()));
        match File::create_new(&name) {
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists => n += 1,
            created => return Ok((name.into(), created?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark<'_> = Mark { kind: "note", bytes: b"A note\n", replaces_any: false };

    fn write(path: &Path, text: &str) -> Result<(), String> {
        let written = replace(path, &MARK, |out| Ok(out.write_all(text.as_bytes())?));
        written.map_err(|cause| cause.to_string())
    }

    fn names(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn no_other_file_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("note"), dir.path().join("note.new"));
        let taken = dir.path().join(format!("note.{}-0.new", process::id()));
        for file in [&other, &taken] {
            fs::write(file, "mine").unwrap();
        }
        for text in ["A note\nof one", "A note\nof two"] {
            write(&path, text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!([&other, &taken].map(|file| fs::read_to_string(file).unwrap()), ["mine", "mine"]);
        let found = names(dir.path());

        fs::write(&path, "a letter").unwrap();
        let refused = format!("{} exists and is no note: remove it, or replace it by force", path.display());
        assert_eq!(write(&path, "A note\n"), Err(refused));
        assert_eq!(fs::read_to_string(&path).unwrap(), "a letter");
        let folder = dir.path().display();
        assert_eq!(
            write(dir.path(), "A note\n"),
            Err(format!("cannot replace {folder}: it is no regular file"))
        );
        assert_eq!(names(dir.path()), found);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let error = write(&link, "A note\n").unwrap_err();
        let expected = format!("cannot write {}: No such file or directory (os error 2)", link.display());
        assert_eq!(error, expected);
        fs::write(&file, "A note\n").unwrap();
        write(&link, "A note\nof three").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "A note\nof three");
    }
}
