//! A file of records that only grows, and is cut back where a run is restored.

use std::borrow::Cow;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::existing::{Existing, set_aside};
use super::format::Format;
use super::{MetricSink, Record};
use crate::text::Count;
use crate::{BoxError, StateDict, Stateful};

/// A CSV or JSON-lines file.
///
/// The records of one moment are one write, and nothing is held back: a run that is killed loses
/// none, a machine that loses power at most the tail of one write after the last checkpoint. A
/// write that fails is taken back, so the file stays whole.
///
/// **Resume.** A checkpoint holds the file's length, and the file is on disk before the checkpoint
/// is. A restored run cuts the file to that length when it is called, and writes on from there:
/// the log is the one of a run that was never interrupted. A file that is shorter, or is no longer
/// the same, is an error.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    format: Format,
    pub(super) existing: Existing,
    /// The length to cut back to, from a checkpoint.
    restored: Option<u64>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
    /// A pipe or a device can neither be cut nor synced; it is written to all the same.
    is_regular: bool,
}

impl LogFile {
    pub(super) fn new(path: PathBuf, format: Format) -> Self {
        LogFile { path, format, existing: Existing::default(), restored: None, open: None }
    }

    /// Opens the file where a restored run goes on, or a new one begins.
    fn opened(&mut self) -> Result<&mut Open, BoxError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        self.restored = None;
        Ok(self.open.insert(open))
    }

    fn begin(&self) -> Result<Open, BoxError> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(|cause| self.failed("create the folder of", cause))?;
        }
        let found = fs::metadata(&self.path).ok().filter(fs::Metadata::is_file).map_or(0, |file| file.len());
        if let Some(length) = self.restored {
            return self.cut_back(found, length);
        }
        if found > 0 && self.existing == Existing::Rename {
            set_aside(&self.path).map_err(|cause| self.failed("set aside", cause))?;
        }
        let mut open = self.open_file()?;
        if open.length > 0 {
            match self.existing {
                Existing::Overwrite => open.cut(0).map_err(|cause| self.failed("empty", cause))?,
                Existing::Append | Existing::Rename => self.check_end(&mut open)?,
            }
        }
        if open.length == 0 {
            open.append(self.format.header().as_bytes()).map_err(|cause| self.failed("write", cause))?;
        }
        Ok(open)
    }

    fn cut_back(&self, found: u64, length: u64) -> Result<Open, BoxError> {
        let path = self.path.display();
        if found < length {
            return Err(format!(
                "the log {path} has {}, but {length} when the checkpoint was made; \
                 put the file back, or log to another path",
                Count(found, "byte")
            )
            .into());
        }
        let mut open = self.open_file()?;
        let last = open.byte(length - 1).map_err(|cause| self.failed("read", cause))?;
        if last != b'\n' {
            return Err(format!(
                "the log {path} is not the one of this run: no line ends at byte {length}; \
                 put the file back, or log to another path"
            )
            .into());
        }
        open.cut(length).map_err(|cause| self.failed("cut back", cause))?;
        Ok(open)
    }

    fn open_file(&self) -> Result<Open, BoxError> {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let open = options.open(&self.path).and_then(|file| {
            let found = file.metadata()?;
            let length = if found.is_file() { found.len() } else { 0 };
            Ok(Open { file, length, is_regular: found.is_file() })
        });
        open.map_err(|cause| self.failed("open", cause))
    }

    /// Refuses to append to other columns, and ends a line that a power cut has torn.
    fn check_end(&self, open: &mut Open) -> Result<(), BoxError> {
        let header = self.format.header();
        let read = |cause| self.failed("read", cause);
        let mut beginning = Vec::new();
        open.file.rewind().map_err(read)?;
        (&open.file).take(header.len() as u64).read_to_end(&mut beginning).map_err(read)?;
        if beginning != header.as_bytes() {
            let (path, columns) = (self.path.display(), header.trim_end());
            return Err(format!(
                "cannot append to {path}: it does not begin with `{columns}`; log to another path"
            )
            .into());
        }
        let torn = open.byte(open.length - 1).map_err(read)? != b'\n';
        let end = if torn { "\n" } else { "" };
        open.append(end.as_bytes()).map_err(|cause| self.failed("write", cause))
    }

    fn failed(&self, verb: &str, cause: impl Display) -> BoxError {
        let path = self.path.display();
        format!(
            "cannot {verb} the log {path}: {cause}; check its folder and the space there, or log elsewhere"
        )
        .into()
    }
}

impl Open {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_regular {
            self.file.seek(SeekFrom::Start(self.length))?;
        }
        if let Err(cause) = self.file.write_all(bytes) {
            // Half a record would otherwise stand in the middle of the file once there is space
            // again. Where this fails too, the next write goes over it.
            let _ = self.file.set_len(self.length);
            return Err(cause);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.length = length;
        Ok(())
    }

    fn byte(&mut self, at: u64) -> io::Result<u8> {
        let mut byte = [0];
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}

impl MetricSink for LogFile {
    fn name(&self) -> Cow<'static, str> {
        let file = self.path.file_name().unwrap_or(self.path.as_os_str());
        Cow::Owned(format!("MetricLog({})", file.to_string_lossy()))
    }

    fn open(&mut self) -> Result<(), BoxError> {
        self.opened().map(drop)
    }

    fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError> {
        let lines = self.format.encode(records)?;
        self.opened()?.append(&lines).map_err(|cause| self.failed("write", cause))
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        match &self.open {
            Some(Open { file, is_regular: true, .. }) => {
                file.sync_data().map_err(|cause| self.failed("sync", cause))
            }
            _ => Ok(()),
        }
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

/// The length, 0 where nothing was written yet.
impl Stateful for LogFile {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        let length = self.open.as_ref().map_or(0, |open| open.length);
        dict.insert("length", self.restored.unwrap_or(length))?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        // A log that had written nothing has nothing to go on from: cutting to 0 would empty a
        // file that belongs to another run.
        self.restored = Some(dict.get("length")?).filter(|&length: &u64| length > 0);
        self.open = None;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        dict.get::<u64>("length").map(drop)
    }
}
