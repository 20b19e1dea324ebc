//! A file that grows.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::SystemTime;

/// Reads the lines of a file as they are written: at each look those that are new.
///
/// A last line without its end waits. A file that became shorter, or whose bytes before the position are no longer those
/// that were read, was cut or replaced, and is read again from its beginning.
///
/// Only a regular file is opened: a device may have no end, and the opening of a pipe waits for its writer.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    /// The bytes that were read: whole lines.
    position: u64,
    /// The last of them.
    before: Vec<u8>,
    /// The length and the time of the newest write, at the newest look.
    seen: Option<(u64, SystemTime)>,
}

/// Bytes that are compared before the position.
const COMPARED: u64 = 256;
/// A longer line is no line of a run folder, and is passed on in pieces.
const LONGEST: u64 = 1 << 20;

impl Tail {
    pub(crate) fn new(path: PathBuf) -> Self {
        Tail { path, position: 0, before: Vec::new(), seen: None }
    }

    /// The time of the newest write, at the newest look. `None` if there is no file.
    pub(crate) fn written(&self) -> Option<SystemTime> {
        self.seen.map(|(_, time)| time)
    }

    /// Reads from the beginning at the next look.
    pub(crate) fn rewind(&mut self) {
        (self.position, self.seen) = (0, None);
        self.before.clear();
    }

    /// Passes each new line to `line`, without its end. Calls `restart` first if all are read again.
    pub(crate) fn look(&mut self, restart: impl FnOnce(), mut line: impl FnMut(&[u8])) -> io::Result<()> {
        let found = match fs::metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if self.seen.is_some() || self.position != 0 {
                    self.rewind();
                    restart();
                }
                return Ok(());
            }
            found => found?,
        };
        if !found.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let now = (found.len(), found.modified()?);
        if self.seen == Some(now) {
            return Ok(());
        }
        let mut file = BufReader::new(File::open(&self.path)?);
        if !self.is_same(&mut file, found.len())? {
            self.rewind();
            restart();
        }
        file.seek(SeekFrom::Start(self.position))?;
        // A writer that is faster than this reader is read on at the next look.
        let mut rest = file.take(found.len().saturating_sub(self.position));
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let read = (&mut rest).take(LONGEST).read_until(b'\n', &mut bytes)? as u64;
            if read < LONGEST && !bytes.ends_with(b"\n") {
                break;
            }
            self.position += read;
            self.before.extend_from_slice(&bytes);
            let excess = self.before.len().saturating_sub(COMPARED as usize);
            self.before.drain(..excess);
            line(bytes.strip_suffix(b"\n").unwrap_or(&bytes));
        }
        self.seen = Some(now);
        Ok(())
    }

    /// Whether the bytes before the position are still there.
    fn is_same(&self, file: &mut BufReader<File>, length: u64) -> io::Result<bool> {
        if length < self.position {
            return Ok(false);
        }
        let mut found = vec![0; self.before.len()];
        file.seek(SeekFrom::Start(self.position - self.before.len() as u64))?;
        file.read_exact(&mut found)?;
        Ok(found == self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes each text after the one before, or over it if it begins with `!`, and compares what is read then. A `!` in
    /// the lines is a restart.
    fn check(written: &[(&str, &str)]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut tail = Tail::new(path.clone());
        for (n, (text, expected)) in written.iter().enumerate() {
            let all = match text.strip_prefix('!') {
                Some(all) => all.to_owned(),
                None => fs::read_to_string(&path).unwrap_or_default() + text,
            };
            fs::write(&path, all).unwrap();
            // Two writes may have the same time, as far as the system counts it.
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(n as u64);
            File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
            let mut lines = Vec::new();
            let mut restarted = false;
            tail.look(|| restarted = true, |line| lines.push(String::from_utf8(line.to_vec()).unwrap()))
                .unwrap();
            let mark = if restarted { "!" } else { "" };
            assert_eq!(format!("{mark}{}", lines.join("|")), *expected, "{written:?} at {n}");
        }
    }

    #[test]
    fn a_file_that_grows_is_read_on_and_a_torn_line_waits() {
        check(&[("", ""), ("one\ntwo\n", "one|two"), ("thr", ""), ("ee\nfo", "three"), ("ur\n\n", "four|")]);
    }

    #[test]
    fn a_file_that_was_cut_or_replaced_is_read_again() {
        check(&[("one\ntwo\nthree\n", "one|two|three"), ("!one\n", "!one"), ("six\n", "six")]);
        check(&[("one\ntwo\n", "one|two"), ("!one\nTWO\nthree\n", "!one|TWO|three")]);
        check(&[("one\ntwo\n", "one|two"), ("!", "!"), ("one\n", "one")]);
        let long = "x".repeat(1000);
        check(&[(&format!("{long}\n"), &long), ("!short\n", "!short")]);
    }

    #[test]
    fn a_file_that_is_not_there_or_goes_away_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut tail = Tail::new(path.clone());
        let mut look = || {
            let (mut lines, mut restarted) = (0, false);
            tail.look(|| restarted = true, |_| lines += 1).unwrap();
            (lines, restarted)
        };
        assert_eq!(look(), (0, false));
        fs::write(&path, "one\n").unwrap();
        assert_eq!(look(), (1, false));
        fs::remove_file(&path).unwrap();
        assert_eq!(look(), (0, true));
    }

    #[test]
    fn a_line_without_an_end_does_not_fill_the_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, vec![b'x'; LONGEST as usize + 5]).unwrap();
        let mut pieces = Vec::new();
        Tail::new(path).look(|| (), |line| pieces.push(line.len())).unwrap();
        assert_eq!(pieces, [LONGEST as usize]);
    }

    /// A device has no end: this test would fill the memory.
    #[test]
    #[cfg(unix)]
    fn a_file_that_is_no_regular_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("device");
        std::os::unix::fs::symlink("/dev/zero", &device).unwrap();
        for path in [device, dir.path().to_owned()] {
            let error = Tail::new(path).look(|| (), |_| panic!("it is read")).unwrap_err();
            assert_eq!(error.to_string(), "it is no regular file");
        }
    }
}
