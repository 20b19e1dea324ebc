//! Metrics on disk until the server takes them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::entry::{Batch, Entry};
use crate::BoxError;

/// A file with a value in each line, older than those in memory. It is there while it has unsent values.
///
/// A file of an earlier process is sent from its beginning. The server knows points that it has already.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    file: Option<File>,
    length: u64,
    /// Bytes that were sent.
    sent: u64,
    /// Bytes of an earlier process.
    inherited: u64,
    /// Values that were not sent.
    left: u64,
    /// The newest step of each metric of an earlier process.
    pub(super) latest: BTreeMap<String, u64>,
}

/// A part of the file for one request.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) entries: Vec<Entry>,
    /// Whether an earlier process wrote it.
    pub(super) is_inherited: bool,
    /// Its end in the file.
    end: u64,
    /// Its lines.
    count: u64,
}

impl Spool {
    /// The file for the run in `folder`, which may be there already.
    pub(super) fn open(folder: &Path, run: &str) -> Result<Self, BoxError> {
        let path = path(folder, run);
        let (file, length, sent, inherited, left) = (None, 0, 0, 0, 0);
        let mut spool = Spool { path, file, length, sent, inherited, left, latest: BTreeMap::new() };
        let read = File::options().read(true).write(true).open(&spool.path);
        match read {
            Ok(file) => spool.inherit(file).map_err(|cause| spool.failed("read", &cause))?,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(spool.failed("open", &cause)),
        }
        Ok(spool)
    }

    fn inherit(&mut self, mut file: File) -> io::Result<()> {
        let (mut lines, mut line) = (BufReader::new(&mut file), Vec::new());
        while lines.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            self.length += line.len() as u64;
            self.left += 1;
            if let Ok(Entry::Metric { key, step, .. }) = serde_json::from_slice(&line) {
                let latest = self.latest.entry(key).or_default();
                *latest = step.max(*latest);
            }
            line.clear();
        }
        // A power cut may have torn the last line.
        file.set_len(self.length)?;
        (self.file, self.inherited) = (Some(file), self.length);
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Values that were not sent.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Adds the entries behind the others: all of them or, if it returns an error, none.
    pub(super) fn append<'a>(
        &mut self,
        entries: impl IntoIterator<Item = &'a Entry>,
    ) -> Result<(), BoxError> {
        let (mut bytes, mut count) = (Vec::new(), 0);
        for entry in entries {
            serde_json::to_writer(&mut bytes, entry)?;
            bytes.push(b'\n');
            count += 1;
        }
        if count == 0 {
            return Ok(());
        }
        self.write(&bytes).map_err(|cause| self.failed("write", &cause))?;
        self.length += bytes.len() as u64;
        self.left += count;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                self.path.parent().map_or(Ok(()), fs::create_dir_all)?;
                let mut options = File::options();
                self.file.insert(options.read(true).write(true).create(true).truncate(true).open(&self.path)?)
            }
        };
        file.seek(SeekFrom::Start(self.length))?;
        let written = file.write_all(bytes);
        if written.is_err() {
            // The next write begins at `length` in any case.
            let _ = file.set_len(self.length);
        }
        written
    }

    /// Makes the entries durable.
    pub(super) fn sync(&self) -> Result<(), BoxError> {
        let synced = self.file.as_ref().map_or(Ok(()), File::sync_data);
        synced.map_err(|cause| self.failed("write", &cause))
    }

    /// The next piece. Lines that are no entries are left out.
    pub(super) fn next(&mut self) -> Result<Piece, BoxError> {
        let (is_inherited, mut batch) = (self.sent < self.inherited, Batch::default());
        let (mut end, mut count) = (self.sent, 0);
        let until = if is_inherited { self.inherited } else { self.length };
        if let Some(file) = &mut self.file {
            let sent = self.sent;
            let read = || -> io::Result<()> {
                file.seek(SeekFrom::Start(sent))?;
                let (mut lines, mut line) = (BufReader::new(file), Vec::new());
                while end < until && lines.read_until(b'\n', &mut line)? > 0 {
                    if let Ok(entry) = serde_json::from_slice(&line)
                        && !batch.add(entry)
                    {
                        break;
                    }
                    end += line.len() as u64;
                    count += 1;
                    line.clear();
                }
                Ok(())
            };
            read().map_err(|cause| self.failed("read", &cause))?;
        }
        // Somebody has cut the file.
        let end = if count == 0 { until } else { end };
        Ok(Piece { entries: batch.entries, is_inherited, end, count })
    }

    /// Counts the piece as sent. A file that was sent is removed.
    pub(super) fn advance(&mut self, piece: &Piece) {
        (self.sent, self.left) = (piece.end, self.left.saturating_sub(piece.count));
        if self.sent == self.length {
            (self.file, self.length, self.sent, self.inherited, self.left) = (None, 0, 0, 0, 0);
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Renames the file to that of `run`, whose name is now known.
    pub(super) fn rename(&mut self, run: &str) -> Result<(), BoxError> {
        let new = path(self.path.parent().unwrap_or(Path::new("")), run);
        if self.file.is_some() && new != self.path {
            fs::rename(&self.path, &new).map_err(|cause| self.failed("rename", &cause))?;
        }
        self.path = new;
        Ok(())
    }

    fn failed(&self, verb: &str, cause: &io::Error) -> BoxError {
        format!(
            "cannot {verb} {}, which holds metrics for MLflow: {cause}; check its folder and the space there",
            self.path.display()
        )
        .into()
    }
}

fn path(folder: &Path, run: &str) -> PathBuf {
    folder.join(format!("mlflow-{run}.jsonl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(key: &str, value: f64, step: u64) -> Entry {
        Entry::metric(key.to_owned(), value, 1_700_000_000_000, step)
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    /// Takes all that is left, by pieces.
    fn pieces(spool: &mut Spool) -> Vec<Vec<Entry>> {
        let mut pieces = Vec::new();
        while spool.left() > 0 {
            let piece = spool.next().unwrap();
            spool.advance(&piece);
            pieces.push(piece.entries);
        }
        pieces
    }

    #[test]
    fn entries_come_back_as_they_were_and_the_file_is_gone() {
        let folder = folder();
        let mut spool = Spool::open(folder.path(), "a").unwrap();
        let values = [0.1 + 0.2, 5e-324, -1.797_693_134_862_315_7e308, 2.225_073_858_507_201e-308, 1e23];
        let mut entries: Vec<_> = values.iter().map(|value| point("x", *value, 1)).collect();
        entries.extend([f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(|value| point("\u{fc}\n", value, 2)));
        entries.push(Entry::Param { key: "rate".into(), value: "0.1".into() });
        entries.push(Entry::tag("mlflow.user", "me"));
        spool.append(&entries).unwrap();
        spool.sync().unwrap();
        assert_eq!(spool.left(), 10);
        assert_eq!(pieces(&mut spool), [entries]);
        assert!(!spool.path().exists());
    }

    #[test]
    fn a_piece_is_a_request_that_a_server_takes() {
        let folder = folder();
        let mut spool = Spool::open(folder.path(), "a").unwrap();
        let entries: Vec<_> = (0..1234).map(|n| point("x", 0.0, n)).collect();
        let many: Vec<_> = (0..150).map(|n| point(&format!("k{n}"), 0.0, 0)).collect();
        spool.append(entries.iter().chain(&many)).unwrap();
        let sizes: Vec<_> = pieces(&mut spool).iter().map(Vec::len).collect();
        assert_eq!(sizes, [1000, 234 + 99, 51]);
    }

    #[test]
    fn a_file_of_an_earlier_process_is_sent_first_without_its_torn_end() {
        let folder = folder();
        let mut before = Spool::open(folder.path(), "key").unwrap();
        before.append(&[point("x", 1.0, 7), point("x", 2.0, 3)]).unwrap();
        before.write(b"no entry\n{\"metric\":{\"key\":\"y\"").unwrap();

        let mut spool = Spool::open(folder.path(), "key").unwrap();
        assert_eq!((spool.left(), &spool.latest), (3, &[("x".to_owned(), 7)].into()));
        spool.append(&[point("x", 3.0, 8)]).unwrap();
        spool.rename("run").unwrap();
        assert!(spool.path().ends_with("mlflow-run.jsonl"));
        let piece = spool.next().unwrap();
        assert_eq!(
            (&*piece.entries, piece.is_inherited),
            (&[point("x", 1.0, 7), point("x", 2.0, 3)][..], true)
        );
        spool.advance(&piece);
        let piece = spool.next().unwrap();
        assert_eq!((&*piece.entries, piece.is_inherited), (&[point("x", 3.0, 8)][..], false));
        spool.advance(&piece);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
