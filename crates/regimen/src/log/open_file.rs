//! An open log file, and the check that nothing else has changed it.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Flush;
use crate::BoxError;
use crate::same_file::is_same_file;
use crate::saved::StateDict;

/// A file to whose end records are written.
///
/// The file must be the one that was opened, and as long as it was left: that is checked once a second, and
/// before a checkpoint with its length is acknowledged. A log that is cut, replaced or removed under a run is an error
/// then, instead of a hole in it.
#[derive(Debug)]
pub(super) struct OpenFile {
    path: PathBuf,
    file: Arc<File>,
    length: u64,
    /// Of all bytes up to `length`.
    checksum: crc32fast::Hasher,
    /// A pipe or a device can neither be cut nor synced; it is written to all the same.
    is_regular: bool,
    /// Half a record is at `length`, from a failed write that could not be undone.
    torn: bool,
    /// The time of the newest check.
    checked: Option<Instant>,
}

const CHECK: Duration = Duration::from_secs(1);

/// The length of a log, and the CRC-32 of its bytes; older checkpoints lack it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    pub(super) length: u64,
    pub(super) checksum: Option<u32>,
}

impl Mark {
    pub(super) fn state_dict(self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("length", self.length)?;
        if let Some(checksum) = self.checksum {
            dict.insert(CHECKSUM, checksum)?;
        }
        Ok(dict)
    }

    pub(super) fn read(dict: &StateDict) -> Result<Self, BoxError> {
        let checksum = dict.contains(CHECKSUM).then(|| dict.get(CHECKSUM)).transpose()?;
        Ok(Mark { length: dict.get("length")?, checksum })
    }
}

const CHECKSUM: &str = "crc32";

/// The end of a file that this process has written.
#[derive(Clone, Debug)]
pub(super) struct End {
    length: u64,
    checksum: crc32fast::Hasher,
}

impl End {
    pub(super) fn mark(&self) -> Mark {
        Mark { length: self.length, checksum: Some(self.checksum.clone().finalize()) }
    }
}

impl OpenFile {
    /// Opens the file at `path`, and creates it if needed. Its content is not looked at:
    /// [`keep`](OpenFile::keep) says how much of it stays.
    pub(super) fn open(path: &Path) -> Result<Self, BoxError> {
        let mut options = File::options();
        // On Unix each write goes to the end of the file, so a file that was cut gets no hole.
        let options = options.read(true).write(true).append(cfg!(unix)).create(true).truncate(false);
        options
            .open(path)
            .map_err(|cause| failed(path, "open", cause))
            .and_then(|file| OpenFile::of(path, file))
    }

    /// The `file` that was opened at `path`.
    pub(super) fn of(path: &Path, file: File) -> Result<Self, BoxError> {
        let found = file.metadata().map_err(|cause| failed(path, "look at", cause))?;
        let length = if found.is_file() { found.len() } else { 0 };
        let (path, is_regular) = (path.to_owned(), found.is_file());
        let (file, checksum) = (Arc::new(file), crc32fast::Hasher::new());
        Ok(OpenFile { path, file, length, checksum, is_regular, torn: false, checked: None })
    }

    /// Its length.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Its length and checksum. The beginning for a pipe or a device: there is no going back in it.
    pub(super) fn mark(&self) -> Mark {
        let checksum = Some(self.checksum.clone().finalize());
        if self.is_regular { Mark { length: self.length, checksum } } else { Mark::default() }
    }

    /// Its end.
    pub(super) fn end(&self) -> End {
        End { length: self.length, checksum: self.checksum.clone() }
    }

    /// Its bytes from `start` to `end`.
    pub(super) fn bytes(&self, start: u64, end: u64) -> io::Result<impl BufRead> {
        (&*self.file).seek(SeekFrom::Start(start))?;
        Ok(BufReader::new(&*self.file).take(end - start))
    }

    /// The checksum of its first `length` bytes.
    pub(super) fn checksum(&self, length: u64) -> io::Result<crc32fast::Hasher> {
        let (mut bytes, mut checksum) = (self.bytes(0, length)?, crc32fast::Hasher::new());
        loop {
            let piece = bytes.fill_buf()?;
            if piece.is_empty() {
                return Ok(checksum);
            }
            checksum.update(piece);
            let read = piece.len();
            bytes.consume(read);
        }
    }

    /// Opens the file at `path` and cuts it back to `mark`, its end when a checkpoint was made. An error if
    /// its bytes up to there are not those that were written; then it stays as it is.
    pub(super) fn go_on(path: &Path, mark: Mark) -> Result<Self, BoxError> {
        let found = fs::metadata(path).map_or(0, |found| found.len());
        if found < mark.length {
            let length = mark.length;
            let why = format!("has {found} bytes, but {length} when the checkpoint was made");
            return Err(foreign(path, &why));
        }
        let mut open = OpenFile::open(path)?;
        open.cut_back(mark)?;
        Ok(open)
    }

    /// Cuts it back to `mark`, with the same check.
    pub(super) fn cut_back(&mut self, Mark { length, checksum }: Mark) -> Result<(), BoxError> {
        let read = |cause: io::Error| failed(&self.path, "read", cause);
        let mut last = [b'\n'];
        if checksum.is_none() && length > 0 {
            self.bytes(length - 1, length).and_then(|mut end| end.read_exact(&mut last)).map_err(read)?;
        }
        if last != *b"\n" {
            let why = format!("is not the one of this run: no line ends at byte {length}");
            return Err(foreign(&self.path, &why));
        }
        let here = self.checksum(length).map_err(read)?;
        if checksum.is_some_and(|written| written != here.clone().finalize()) {
            let why = "is not the one of this run";
            let why = format!("{why}: its first {length} bytes are not those that were written");
            return Err(foreign(&self.path, &why));
        }
        self.keep(length, here).map_err(|cause| failed(&self.path, "cut back", cause))
    }

    /// Cuts it back to an earlier `end`, without reading it.
    pub(super) fn take_back(&mut self, end: &End) -> Result<(), BoxError> {
        self.check()?;
        let kept = self.keep(end.length, end.checksum.clone());
        kept.map_err(|cause| failed(&self.path, "cut back", cause))
    }

    /// Cuts it to its first `length` bytes, whose checksum is `checksum`.
    pub(super) fn keep(&mut self, length: u64, checksum: crc32fast::Hasher) -> io::Result<()> {
        if length != self.length {
            self.file.set_len(length)?;
        }
        (self.length, self.checksum) = (length, checksum);
        Ok(())
    }

    /// Writes `bytes` to its end: all of them or, if it returns an error, none.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        if self.torn || self.checked.is_none_or(|checked| CHECK <= checked.elapsed()) {
            self.check()?;
            self.checked = Some(Instant::now());
        }
        self.write(bytes).map_err(|cause| failed(&self.path, "write", cause))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_regular && !cfg!(unix) {
            (&*self.file).seek(SeekFrom::Start(self.length))?;
        }
        if let Err(cause) = (&*self.file).write_all(bytes) {
            // Half a record would otherwise stand in the middle of the file once there is space again.
            self.torn = self.is_regular && self.file.set_len(self.length).is_err();
            return Err(cause);
        }
        self.checksum.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Makes the bytes durable.
    pub(super) fn sync(&mut self) -> Result<(), BoxError> {
        self.sync_later()?.map_or(Ok(()), |sync| sync())
    }

    /// The work that makes the bytes durable; `None` for a pipe or a device.
    pub(super) fn sync_later(&mut self) -> Result<Option<Flush>, BoxError> {
        self.check()?;
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        let sync = move || file.sync_data().map_err(|cause| failed(&path, "sync", cause));
        Ok(self.is_regular.then(|| Box::new(sync) as Flush))
    }

    /// An error if the file at the path is not the one that was written, or not as it was left.
    fn check(&mut self) -> Result<(), BoxError> {
        if !self.is_regular {
            return Ok(());
        }
        if self.torn {
            self.file.set_len(self.length).map_err(|cause| failed(&self.path, "mend", cause))?;
            self.torn = false;
        }
        let ours = self.file.metadata().map_err(|cause| failed(&self.path, "look at", cause))?;
        let changed = match fs::metadata(&self.path) {
            Ok(there) if is_same_file(&there, &ours) && there.len() == self.length => return Ok(()),
            Ok(there) if is_same_file(&there, &ours) => {
                format!("it has {} bytes, and {} were written", there.len(), self.length)
            }
            Ok(_) => "another file is in its place".to_owned(),
            Err(cause) => format!("it cannot be found: {cause}"),
        };
        let path = self.path.display();
        Err(format!(
            "the log {path} was changed under the run: {changed}; log to a path that nothing else writes to"
        )
        .into())
    }
}

/// The error of a log at `path` that is not the saved one.
fn foreign(path: &Path, why: &str) -> BoxError {
    format!("the log {} {why}; put the file back, or log to another path", path.display()).into()
}

/// The error of doing something to the log at `path`.
pub(super) fn failed(path: &Path, verb: &str, cause: impl Display) -> BoxError {
    let path = path.display();
    format!("cannot {verb} the log {path}: {cause}; check its folder and the space there, or log elsewhere")
        .into()
}
