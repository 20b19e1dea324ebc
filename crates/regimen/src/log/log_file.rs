//! A log file, which grows, and is cut back when a run is restored.

use std::borrow::Cow;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::path::PathBuf;

use super::existing_file::{ExistingFile, set_aside};
use super::format::Format;
use super::open_file::{Mark, OpenFile, failed};
use super::wide::Columns;
use super::{Flush, MetricSink, Record};
use crate::BoxError;
use crate::saved::{Array, StateDict, Stateful};
use crate::state::EntryPoint;

/// A CSV or JSON-lines file.
///
/// The records of one moment are one write, without a buffer. A killed run loses no record; a power
/// cut loses at most the tail of one write after the last checkpoint. A write that fails is undone,
/// so the file stays whole. A file that was cut, replaced or removed
/// while the run writes to it is an error of the next write.
///
/// A pass by hand adds its records to the end of the file. A training that is restored later cuts them
/// off with all else behind its checkpoint.
///
/// **Resume.** A checkpoint holds the file's length and the CRC-32 of its bytes, and the file is on
/// disk before the checkpoint is. A restored run cuts the file to that length when it is called, and
/// writes on from there: the log is the one of a run that was never interrupted. A file that is
/// shorter, or whose bytes up to there are not those that were written, is an error and stays as it
/// is.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    format: Format,
    pub(super) existing: ExistingFile,
    /// The mark and the format of a checkpoint to cut it back to.
    restored: Option<(Mark, Format)>,
    open: Option<OpenFile>,
    /// Opened for a pass by hand alone: a training still has to cut it back, or to start a new one.
    is_by_hand: bool,
    /// A notice about the opening.
    notice: Option<String>,
}

impl LogFile {
    pub(super) fn new(path: PathBuf, format: Format) -> Self {
        LogFile {
            path,
            format,
            existing: ExistingFile::default(),
            restored: None,
            open: None,
            is_by_hand: false,
            notice: None,
        }
    }

    /// Opens the file for a restored run, or for a new one.
    fn opened(&mut self) -> Result<&mut OpenFile, BoxError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        if !self.is_by_hand {
            self.restored = None;
        }
        Ok(self.open.insert(open))
    }

    /// Opens the file to append to it.
    fn begin_at_end(&mut self) -> Result<OpenFile, BoxError> {
        self.prepare_path()?;
        let mut open = OpenFile::open(&self.path)?;
        self.mend_end(&mut open)?;
        if open.length() == 0 {
            open.append(self.format.header().as_bytes())?;
        }
        Ok(open)
    }

    fn prepare_path(&self) -> Result<(), BoxError> {
        let made = self.path.parent().map_or(Ok(()), fs::create_dir_all);
        made.map_err(|cause| self.failed("create the folder of", cause))?;
        match (&self.format, fs::metadata(&self.path)) {
            (Format::Wide(_), Ok(found)) if !found.is_file() => {
                let why = "is no file, and a wide CSV log is written again for each new column";
                Err(format!("the log {} {why}; log to a file, or with `csv`", self.path.display()).into())
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self) -> Result<OpenFile, BoxError> {
        self.prepare_path()?;
        let found = fs::metadata(&self.path).ok();
        // There is no going back in a pipe or a device.
        let can_be_cut = found.as_ref().is_none_or(Metadata::is_file);
        let found = found.filter(Metadata::is_file).map_or(0, |file| file.len());
        if let Some((mark, format)) = self.restored.clone().filter(|_| can_be_cut) {
            if let Format::Wide(columns) = &format
                && found > 0
            {
                columns.restore(&self.path, mark)?;
            }
            self.format = format;
            return OpenFile::go_on(&self.path, mark);
        }
        if found > 0 && self.existing == ExistingFile::Rename {
            set_aside(&self.path).map_err(|cause| self.failed("set aside", cause))?;
        }
        let mut open = OpenFile::open(&self.path)?;
        if self.existing == ExistingFile::Overwrite {
            let emptied = open.keep(0, crc32fast::Hasher::new());
            emptied.map_err(|cause| self.failed("empty", cause))?;
        }
        self.mend_end(&mut open)?;
        if open.length() == 0 {
            open.append(self.format.header().as_bytes())?;
        }
        Ok(open)
    }

    /// Refuses to append to other columns, and cuts off a row that a power cut has torn: it is not a
    /// record, and no program could read past it.
    fn mend_end(&mut self, open: &mut OpenFile) -> Result<(), BoxError> {
        if let Format::Wide(columns) = &mut self.format {
            let there = open.bytes(0, open.length()).map_err(BoxError::from).and_then(Columns::read);
            *columns = there.unwrap_or_else(|_| Columns::new());
        }
        if open.length() == 0 {
            return Ok(());
        }
        let (path, header) = (self.path.display(), self.format.header());
        let read = |cause: io::Error| self.failed("read", cause);
        let refusal = |why: String| -> BoxError {
            format!("cannot append to {path}: {why}; log to another path").into()
        };
        let mut beginning = Vec::new();
        let begin = open.bytes(0, open.length().min(header.len() as u64));
        begin.and_then(|mut bytes| bytes.read_to_end(&mut beginning)).map_err(read)?;
        let torn_header = open.length() < header.len() as u64 && header.as_bytes().starts_with(&beginning);
        if beginning != header.as_bytes() && !torn_header {
            return Err(refusal(format!("it does not begin with `{}`", header.trim_end())));
        }
        let whole = open.bytes(0, open.length()).and_then(|bytes| self.format.whole_rows(bytes));
        let whole = whole.map_err(read)?;
        if let Format::Wide(columns) = &self.format {
            columns.check(open.bytes(0, whole).map_err(read)?).map_err(|cause| refusal(cause.to_string()))?;
        }
        if whole < open.length() && !torn_header {
            let mut torn = Vec::new();
            let end = open.bytes(whole, open.length());
            end.and_then(|bytes| bytes.take(200).read_to_end(&mut torn)).map_err(read)?;
            let torn = String::from_utf8_lossy(&torn).into_owned();
            if !torn.starts_with(|first: char| first.is_ascii_digit() || first == '{' || first == '\0') {
                return Err(refusal(format!("its last line is no record: {torn:?}")));
            }
            self.notice = Some(format!("the last row of the log {path} was torn, and is cut off: {torn:?}"));
        }
        let kept = open.checksum(whole).and_then(|checksum| open.keep(whole, checksum));
        kept.map_err(|cause| self.failed("mend", cause))
    }

    /// Adds columns to a wide CSV file for the new names in `records`.
    fn widen(&mut self, records: &[Record<'_>]) -> Result<(), BoxError> {
        let Format::Wide(columns) = &self.format else { return Ok(()) };
        let Some(columns) = columns.widened(records)? else { return Ok(()) };
        // Nothing is copied from a file that was changed under the run.
        self.opened()?.sync()?;
        columns.rewrite(&self.path)?;
        let mut open = OpenFile::open(&self.path)?;
        let length = open.length();
        let kept = open.checksum(length).and_then(|checksum| open.keep(length, checksum));
        kept.map_err(|cause| self.failed("read", cause))?;
        (self.open, self.format) = (Some(open), Format::Wide(columns));
        Ok(())
    }

    fn failed(&self, verb: &str, cause: io::Error) -> BoxError {
        failed(&self.path, verb, cause)
    }
}

impl MetricSink for LogFile {
    fn name(&self) -> Cow<'static, str> {
        let file = self.path.file_name().unwrap_or(self.path.as_os_str());
        Cow::Owned(format!("MetricLog({})", file.to_string_lossy()))
    }

    fn open(&mut self, entry: EntryPoint) -> Result<(), BoxError> {
        let trains = matches!(entry, EntryPoint::Train | EntryPoint::Fit);
        if trains && std::mem::take(&mut self.is_by_hand) {
            self.open = None;
        }
        if trains || self.open.is_some() {
            return self.opened().map(drop);
        }
        let open = self.begin_at_end()?;
        (self.open, self.is_by_hand) = (Some(open), true);
        Ok(())
    }

    fn notice(&mut self) -> Option<String> {
        self.notice.take()
    }

    fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError> {
        self.opened()?;
        self.widen(records)?;
        let lines = self.format.encode(records)?;
        self.opened()?.append(&lines)
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        self.open.as_mut().map_or(Ok(()), OpenFile::sync)
    }

    fn flush_later(&mut self) -> Result<Option<Flush>, BoxError> {
        self.open.as_mut().map_or(Ok(None), OpenFile::sync_later)
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

/// The length, 0 if nothing was written yet, the checksum of so many bytes, and the columns of a wide file.
impl Stateful for LogFile {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let now = (self.open.as_ref().map(OpenFile::mark).unwrap_or_default(), self.format.clone());
        let (mark, format) = self.restored.clone().unwrap_or(now);
        let mut dict = mark.state_dict()?;
        if let Format::Wide(columns) = format {
            dict.insert(COLUMNS, Array::from_text(columns.header()))?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        // A log that had written nothing has nothing to go on from: cutting to 0 would empty a
        // file that belongs to another run.
        self.restored = Some(self.read(dict)?).filter(|(mark, _)| mark.length > 0);
        self.open = None;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.read(dict).map(drop)
    }
}

const COLUMNS: &str = "columns";

impl LogFile {
    /// The mark and the format of a checkpoint.
    fn read(&self, dict: &StateDict) -> Result<(Mark, Format), BoxError> {
        let format = match &self.format {
            Format::Wide(_) => Format::Wide(Columns::read(dict.array(COLUMNS)?.to_text()?.as_bytes())?),
            format => format.clone(),
        };
        Ok((Mark::read(dict)?, format))
    }
}
