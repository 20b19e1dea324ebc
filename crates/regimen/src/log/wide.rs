//! The columns of a wide CSV file.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};

use super::Record;
use super::open_file::{Mark, OpenFile, failed};
use crate::BoxError;

/// The columns: step, phase, epoch, and one per metric, in the order in which they were first written.
///
/// A new name is a new last column, so the file is written again: beside itself, and renamed. Earlier
/// rows have an empty field there. With fewer columns a file is what it was before they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    names: Vec<String>,
    header: String,
}

const MOMENT: [&str; 3] = ["step", "phase", "epoch"];

impl Columns {
    /// Those of a moment, and no metric.
    pub(super) fn new() -> Self {
        Columns { names: Vec::new(), header: MOMENT.join(",") + "\n" }
    }

    fn of(names: Vec<String>) -> Result<Self, BoxError> {
        let header = row(MOMENT.into_iter().chain(names.iter().map(String::as_str)))?;
        Ok(Columns { header: String::from_utf8(header)?, names })
    }

    /// Those of the first row of `bytes`. An error if it is not one that was written by this log.
    pub(super) fn read(bytes: impl Read) -> Result<Self, BoxError> {
        let mut rows = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
        let mut first = csv::StringRecord::new();
        rows.read_record(&mut first)?;
        let names = first.iter().skip(MOMENT.len()).map(str::to_owned).collect();
        match first.iter().take(MOMENT.len()).eq(MOMENT) {
            true => Columns::of(names),
            false => Err(format!("a wide CSV file begins with the columns {}", MOMENT.join(",")).into()),
        }
    }

    /// The first row.
    pub(super) fn header(&self) -> &str {
        &self.header
    }

    /// These and those of the new names in `records`. Returns `None` if there are no new ones.
    pub(super) fn widened(&self, records: &[Record<'_>]) -> Result<Option<Self>, BoxError> {
        let mut names = self.names.clone();
        for record in records {
            if !names.iter().any(|name| name == record.name) {
                names.push(record.name.to_owned());
            }
        }
        if names.len() == self.names.len() { Ok(None) } else { Columns::of(names).map(Some) }
    }

    /// The row of `records`, which are of one moment.
    pub(super) fn encode(&self, records: &[Record<'_>]) -> Result<Vec<u8>, BoxError> {
        let Some(&Record { step, phase, epoch, .. }) = records.first() else { return Ok(Vec::new()) };
        let epoch = epoch.map(|epoch| epoch.to_string()).unwrap_or_default();
        let moment = [step.to_string(), phase.name().to_owned(), epoch];
        let value = |name: &String| {
            let record = records.iter().find(|record| record.name == name);
            record.map(|record| format!("{:?}", record.value)).unwrap_or_default()
        };
        row(moment.into_iter().chain(self.names.iter().map(value)))
    }

    /// An error if a row of `bytes` has more fields than there are columns: they would be taken for those of a new
    /// column.
    pub(super) fn check(&self, bytes: impl Read) -> Result<(), BoxError> {
        let (mut rows, width) = (csv::ReaderBuilder::new(), MOMENT.len() + self.names.len());
        for (n, row) in rows.has_headers(false).flexible(true).from_reader(bytes).byte_records().enumerate() {
            let fields = row?.len();
            if fields > width {
                return Err(format!("row {} has {fields} fields, and the header {width}", n + 1).into());
            }
        }
        Ok(())
    }

    /// Gives the file at `path` these columns: cuts those off that it has more, and adds those it lacks.
    pub(super) fn rewrite(&self, path: &Path) -> Result<(), BoxError> {
        self.replace(path, |_| true)
    }

    /// Gives the file at `path` back the columns it had at `mark`, if it has got others since. It stays as it
    /// is if it then does not begin with the bytes that were written.
    pub(super) fn restore(&self, path: &Path, mark: Mark) -> Result<(), BoxError> {
        let found = File::open(path).map_err(|cause| failed(path, "open", cause))?;
        match Columns::read(BufReader::new(found)) {
            Ok(found) if found.names.len() > self.names.len() && found.names.starts_with(&self.names) => {
                self.replace(path, |narrow| OpenFile::go_on(narrow, mark).is_ok())
            }
            _ => Ok(()),
        }
    }

    /// Writes the file at `path` again with these columns, and puts it in place if `is_right`.
    fn replace(&self, path: &Path, is_right: impl Fn(&Path) -> bool) -> Result<(), BoxError> {
        // The file that a link leads to is replaced, not the link.
        let to = fs::canonicalize(path).map_err(|cause| failed(path, "find", cause))?;
        let mut beside = OsString::from(&to);
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let written = self.copy(&to, &beside).map_err(io::Error::other);
        let put = written.and_then(|()| match is_right(&beside) {
            true => fs::rename(&beside, &to).and_then(|()| sync_folder(&to)),
            false => fs::remove_file(&beside),
        });
        put.map_err(|cause| {
            // The first error is the one that matters.
            let _ = fs::remove_file(&beside);
            failed(path, "add columns to", cause)
        })
    }

    fn copy(&self, from: &Path, to: &Path) -> csv::Result<()> {
        let mut rows = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_path(from)?;
        let mut copied = csv::Writer::from_writer(BufWriter::new(File::create(to)?));
        let width = MOMENT.len() + self.names.len();
        copied.write_record(MOMENT.into_iter().chain(self.names.iter().map(String::as_str)))?;
        for row in rows.byte_records().skip(1) {
            let mut row = row?;
            row.truncate(width);
            (row.len()..width).for_each(|_| row.push_field(b""));
            copied.write_byte_record(&row)?;
        }
        let file = copied.into_inner().map_err(|failed| failed.into_error())?;
        Ok(file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?)
    }
}

/// A row of CSV.
fn row<T: AsRef<[u8]>>(fields: impl IntoIterator<Item = T>) -> Result<Vec<u8>, BoxError> {
    let mut rows = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    rows.write_record(fields)?;
    Ok(rows.into_inner()?)
}

/// Makes the renaming of a file in the folder of `path` durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        // Elsewhere a folder cannot be opened, and renames are written through.
        Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}
