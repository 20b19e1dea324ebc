//! Entries on disk until the server takes them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::entry::{Batch, Entry, Tally};
use crate::BoxError;
use crate::log::Flush;

/// A file with an entry per line, older than those in memory. It exists while it has unsent entries.
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
}

impl Spool {
    /// The file for the run in `folder`, which may be there already.
    pub(super) fn open(folder: &Path, run: &str) -> Result<Self, BoxError> {
        let (path, latest) = (folder.join(format!("mlflow-{run}.jsonl")), BTreeMap::new());
        let mut spool = Spool { path, file: None, length: 0, sent: 0, inherited: 0, latest };
        match File::options().read(true).write(true).open(&spool.path) {
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
            if let Ok(Entry::Metric { key, step, by_hand: false, .. }) = serde_json::from_slice(&line) {
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

    /// Whether all was sent.
    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.length
    }

    /// The number of entries that were not sent.
    pub(super) fn left(&self) -> Result<Tally, BoxError> {
        let read = || -> io::Result<Tally> {
            let mut tally = Tally::default();
            if let Some(mut file) = self.file.as_ref() {
                file.seek(SeekFrom::Start(self.sent))?;
                for line in BufReader::new(file).split(b'\n') {
                    serde_json::from_slice(&line?).iter().for_each(|entry| tally.add(entry));
                }
            }
            Ok(tally)
        };
        read().map_err(|cause| self.failed("read", &cause))
    }

    /// Adds the entries behind the others: all of them or, if it returns an error, none.
    pub(super) fn append<'a>(
        &mut self,
        entries: impl IntoIterator<Item = &'a Entry>,
    ) -> Result<(), BoxError> {
        let mut bytes = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut bytes, entry)?;
            bytes.push(b'\n');
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.write(&bytes).map_err(|cause| self.failed("write", &cause))?;
        self.length += bytes.len() as u64;
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

    /// The work that makes the entries so far durable. It needs the file alone.
    pub(super) fn sync_later(&self) -> Result<Flush, BoxError> {
        let Some(file) = &self.file else { return Ok(Box::new(|| Ok(()))) };
        let file = file.try_clone().map_err(|cause| failed(&self.path, "open", &cause))?;
        let path = self.path.clone();
        Ok(Box::new(move || file.sync_data().map_err(|cause| failed(&path, "write", &cause))))
    }

    /// The next piece. Lines that are no entries are left out.
    pub(super) fn next(&mut self) -> Result<Piece, BoxError> {
        let (is_inherited, mut batch) = (self.sent < self.inherited, Batch::default());
        let mut end = self.sent;
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
                    line.clear();
                }
                Ok(())
            };
            read().map_err(|cause| self.failed("read", &cause))?;
        }
        // Somebody has cut the file.
        let end = if end == self.sent { until } else { end };
        Ok(Piece { entries: batch.entries, is_inherited, end })
    }

    /// Counts the piece as sent. A file that was sent is removed.
    pub(super) fn advance(&mut self, piece: &Piece) {
        self.sent = piece.end;
        if self.is_empty() {
            (self.file, self.length, self.sent, self.inherited) = (None, 0, 0, 0);
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Moves the entries to the file of `run`, whose id is now known: behind those of an earlier process, which knew
    /// it too. Must be called before a piece is sent.
    pub(super) fn move_to(&mut self, run: &str) -> Result<(), BoxError> {
        let mut target = Spool::open(self.path.parent().unwrap_or(Path::new("")), run)?;
        if target.path == self.path {
            return Ok(());
        }
        match (&mut self.file, &mut target.file) {
            (None, _) => {}
            (Some(_), None) => {
                fs::rename(&self.path, &target.path).map_err(|cause| self.failed("rename", &cause))?;
                target.file = self.file.take();
            }
            (Some(file), Some(before)) => {
                let copied = append(file, before, target.length);
                copied.map_err(|cause| target.failed("write", &cause))?;
                let _ = fs::remove_file(&self.path);
            }
        }
        target.length += self.length;
        target.inherited += self.inherited;
        for (key, step) in &self.latest {
            let latest = target.latest.entry(key.clone()).or_default();
            *latest = step.max(latest).to_owned();
        }
        *self = target;
        Ok(())
    }

    fn failed(&self, verb: &str, cause: &io::Error) -> BoxError {
        failed(&self.path, verb, cause)
    }
}

fn failed(path: &Path, verb: &str, cause: &io::Error) -> BoxError {
    let path = path.display();
    format!(
        "cannot {verb} {path}, which holds metrics for MLflow: {cause}; check its folder and the space there"
    )
    .into()
}

/// Copies `file` behind the first `length` bytes of `before`, durably.
fn append(file: &mut File, before: &mut File, length: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    before.seek(SeekFrom::Start(length))?;
    let copied = io::copy(file, before).and_then(|_| before.sync_data());
    if copied.is_err() {
        let _ = before.set_len(length);
    }
    copied
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(key: &str, value: f64, step: u64) -> Entry {
        Entry::metric(key.to_owned(), value, 1_700_000_000_000, step, false)
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    /// Takes all that is left, by pieces.
    fn pieces(spool: &mut Spool) -> Vec<Vec<Entry>> {
        let mut pieces = Vec::new();
        while !spool.is_empty() {
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
        spool.sync_later().unwrap()().unwrap();
        assert_eq!(spool.left().unwrap(), Tally { values: 8, params: 1, tags: 1 });
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
        assert_eq!((spool.left().unwrap().values, &spool.latest), (2, &[("x".to_owned(), 7)].into()));
        spool.append(&[point("x", 3.0, 8)]).unwrap();
        spool.move_to("run").unwrap();
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

    #[test]
    fn a_file_that_knew_only_the_key_goes_behind_that_of_the_run() {
        let folder = folder();
        let open = |run| Spool::open(folder.path(), run).unwrap();
        let [first, second, third, fourth] = [1, 2, 3, 4].map(|n| point("x", 0.5, n));
        open("run").append([&first]).unwrap();
        open("key").append([&second]).unwrap();
        let mut spool = open("key");
        spool.append([&third]).unwrap();
        spool.move_to("run").unwrap();
        spool.append([&fourth]).unwrap();
        assert_eq!(spool.latest, [("x".to_owned(), 2)].into());
        assert_eq!(pieces(&mut spool), [vec![first, second], vec![third, fourth]]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_of_the_run_is_found_by_a_process_that_knew_only_the_key() {
        let folder = folder();
        let open = |run| Spool::open(folder.path(), run).unwrap();
        let [first, second] = [1, 2].map(|n| point("x", 0.5, n));
        open("run").append([&first]).unwrap();
        let mut spool = open("key");
        spool.move_to("run").unwrap();
        spool.append([&second]).unwrap();
        assert_eq!(pieces(&mut spool), [[first], [second]]);
    }
}
