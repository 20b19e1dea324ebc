//! Files that are read to the length that they have, and lines of a bounded length.

use std::fs::{self, File};
use std::io::{self, BufRead, ErrorKind, Read, Take};
use std::path::Path;

/// The longest line that is read.
pub(crate) const LONGEST: u64 = 1 << 20;

/// Opens a file up to the length that it has now. Returns `None` if it is missing. What is no regular file, such as a device
/// or a pipe, is an error, as it may have no end.
pub(crate) fn open(path: &Path) -> io::Result<Option<Take<File>>> {
    let found = match fs::metadata(path) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    if !found.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok(Some(File::open(path)?.take(found.len())))
}

/// Calls `each` for every line, without its end. A line longer than [`LONGEST`] is `None`. A last line without an end is
/// left out. Returns whether there is one.
pub(crate) fn each_line(mut file: impl BufRead, mut each: impl FnMut(Option<&[u8]>)) -> io::Result<bool> {
    let (mut line, mut is_long) = (Vec::new(), false);
    loop {
        line.clear();
        if file.by_ref().take(LONGEST).read_until(b'\n', &mut line)? == 0 {
            return Ok(is_long);
        }
        let has_end = line.pop_if(|last| *last == b'\n').is_some();
        if has_end && !is_long {
            each(Some(&line));
        } else if !has_end && (line.len() as u64) < LONGEST {
            return Ok(true);
        } else if !is_long {
            each(None);
        }
        is_long = !has_end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_passed_over_and_a_torn_one_left_out() {
        let long = "x".repeat(3 << 20);
        let lines = |text: &str| {
            let mut lines = Vec::new();
            let is_torn = each_line(text.as_bytes(), |line| {
                lines.push(line.map(|line| String::from_utf8_lossy(line).into_owned()));
            });
            (lines, is_torn.unwrap())
        };
        let line = |text: &str| Some(text.to_owned());
        assert_eq!(lines(""), (vec![], false));
        assert_eq!(lines("a\n\nb\n"), (vec![line("a"), line(""), line("b")], false));
        assert_eq!(lines(&format!("a\n{long}\nb\nc")), (vec![line("a"), None, line("b")], true));
        assert_eq!(lines(&format!("{long}{long}")), (vec![None], true));
    }

    #[cfg(unix)]
    #[test]
    fn what_may_have_no_end_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("metrics.jsonl");
        assert!(open(&link).unwrap().is_none());
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        assert_eq!(open(&link).unwrap_err().to_string(), "it is no regular file");
        assert_eq!(open(folder.path()).unwrap_err().to_string(), "it is no regular file");
    }
}
