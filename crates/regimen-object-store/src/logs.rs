//! Copies of the files that a run writes on this machine, such as its logs.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use object_store::path::Path as Key;
use regimen::callback::{BeforeCommit, Event, Events, Ranks};
use regimen::checkpoint::NewFile;
use regimen::run::Report;
use regimen::{BoxError, Callback, Error, State};

use crate::ObjectStore;
use crate::draft::random;
use crate::key::{child, key};

/// Copies the files of a folder on this machine to an object store.
///
/// The folder is the spool: a log is written there at every step, and copied at every save. It is a callback, which is
/// added after the logs: a copy is made before the checkpoint is acknowledged, as the checkpoint refers to the log, and a
/// copy that fails is a save that fails. What was written after the last save is copied at the end of a call. If that
/// fails, the report has a notice.
///
/// On a machine that may have none of the files, call [`download`](LogUpload::download) before the run: a run that is
/// restored without its log is an error, and one that begins again begins another.
///
/// ```
/// use std::sync::Arc;
///
/// use regimen::checkpoint::Checkpointer;
/// use regimen_object_store::{LogUpload, ObjectStore};
///
/// let store = ObjectStore::open("memory://")?;
/// let logs = LogUpload::new(&store, "runs/digits", "digits/logs");
/// # let folder = tempfile::tempdir()?;
/// # let logs = LogUpload::new(&store, folder.path(), "digits/logs");
/// logs.download()?;
/// let saver = Checkpointer::new("digits").store(Arc::new(store));
/// # struct Unit;
/// # let mut unit = Unit;
/// let run = regimen::Run::new(&mut unit).callback(logs);
/// # drop((run, saver));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LogUpload {
    store: ObjectStore,
    folder: PathBuf,
    to: PathBuf,
    /// Whether it has heard of an event: the others have no logs.
    is_of_first_rank: bool,
    /// The files that were copied.
    copied: Arc<Mutex<BTreeMap<String, Version>>>,
}

impl LogUpload {
    /// From `folder` on this machine to the directory `to` of `store`.
    pub fn new(store: &ObjectStore, folder: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Self {
        let (store, folder, to) = (store.clone(), folder.into(), to.into());
        LogUpload { store, folder, to, is_of_first_rank: false, copied: Arc::default() }
    }

    /// Copies the files that have changed since the last call, and returns their number. An object of the same name is
    /// replaced. Folders, links, and files whose name begins with a dot are left out. A copy that failed is made by the
    /// next call.
    ///
    /// The first copy of a file may meet an object that is longer, as another log is. Unless both begin with the same 4
    /// KiB, as a log that was cut back does, the object is kept as `.replaced-NAME-` and a random number.
    ///
    /// A file that is written meanwhile is copied as far as it was written.
    pub fn upload(&self) -> io::Result<u64> {
        let mut copied = self.copied.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || !entry.file_type()?.is_file() {
                continue;
            }
            let state = state(&entry.metadata()?);
            let former = copied.get(&name);
            if former != Some(&state) {
                let path = entry.path();
                let keep = || if former.is_none() { self.keep_other(&path, &name, state.0) } else { Ok(()) };
                let copy = keep().and_then(|()| self.copy(&path, &name, state.0));
                copy.map_err(|error| because(error, format!("cannot upload `{}`", path.display())))?;
                copied.insert(name, state);
                count += 1;
            }
        }
        Ok(count)
    }

    /// Copies the files that the folder does not have from the store, and returns their number. Files that it has stay as
    /// they are. Creates the folder if it does not exist.
    pub fn download(&self) -> io::Result<u64> {
        fs::create_dir_all(&self.folder)?;
        let (dir, mut count) = (key(self.store.prefix(), &self.to)?, 0);
        let found = self.store.remote().call(|calls| async move { calls.list(&dir).await })?;
        for object in found.objects {
            let name = object.location.filename().unwrap_or_default();
            let path = self.folder.join(name);
            if name.starts_with('.') || path.try_exists()? {
                continue;
            }
            let temporary = self.folder.join(format!(".{name}-{}", random()));
            let fetch =
                || self.fetch(&object.location, &temporary).and_then(|()| fs::rename(&temporary, &path));
            fetch().map_err(|error| {
                // It may not have been created.
                let _ = fs::remove_file(&temporary);
                because(error, format!("cannot download `{}`", object.location))
            })?;
            count += 1;
        }
        Ok(count)
    }

    /// Writes an object to a new file.
    fn fetch(&self, key: &Key, to: &Path) -> io::Result<()> {
        let (remote, key) = (self.store.remote(), key.clone());
        let meta = remote.call(|calls| async move { calls.head(&key).await })?;
        let (mut file, mut at) = (File::create_new(to)?, 0);
        while at < meta.size {
            let (meta, range) = (meta.clone(), at..meta.size.min(at + RANGE));
            at = range.end;
            file.write_all(&remote.call(|calls| async move { calls.get_part(&meta, range).await })?)?;
        }
        file.sync_all()
    }

    /// Keeps the object that the first copy of a file of `length` bytes would replace, if it is another log.
    fn keep_other(&self, file: &Path, name: &str, length: u64) -> io::Result<()> {
        let dir = key(self.store.prefix(), &self.to)?;
        let (from, to) = (child(&dir, name), child(&dir, &format!(".replaced-{name}-{}", random())));
        let (remote, object) = (self.store.remote(), from.clone());
        let size = match remote.call(|calls| async move { calls.head(&object).await }) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?.size,
        };
        if size <= length {
            return Ok(());
        }
        let (object, mut ours) = (from.clone(), Vec::new());
        let other = remote.call(|calls| async move { calls.get_range(&object, 0..size.min(HEAD)).await })?;
        File::open(file)?.take(length.min(HEAD)).read_to_end(&mut ours)?;
        if ours == other {
            return Ok(());
        }
        remote.call(|calls| async move { calls.copy(&from, &to).await })
    }

    /// Copies the first `length` bytes of a file.
    fn copy(&self, file: &Path, name: &str, length: u64) -> io::Result<()> {
        let key = child(&key(self.store.prefix(), &self.to)?, name);
        let mut upload = Box::new(self.store.upload(key, |_| {})?);
        io::copy(&mut File::open(file)?.take(length), &mut upload)?;
        upload.sync()
    }
}

impl<U: ?Sized> Callback<U> for LogUpload {
    fn events(&self) -> Events {
        Events::of(&[Event::CycleStart, Event::TrainStart, Event::EvalStart])
    }

    fn writes_down(&self) -> bool {
        true
    }

    fn ranks(&self) -> Ranks {
        Ranks::First
    }

    fn on_event(&mut self, _event: Event, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        self.is_of_first_rank = true;
        Ok(())
    }

    fn before_commit(&mut self) -> Option<BeforeCommit> {
        if !self.is_of_first_rank {
            return None;
        }
        let logs = self.clone();
        Some(Box::new(move || Ok(logs.upload().map(drop)?)))
    }

    fn on_error(&mut self, _state: &State, _unit: &mut U, _error: &Error) {
        // The error of the run is the one that matters.
        let _ = self.upload();
    }

    fn sum_up(&mut self, report: &mut Report) {
        report.notices.extend(self.upload().err().map(|error| error.to_string()));
    }
}

/// Bytes per range of a download.
const RANGE: u64 = 8 << 20;
/// Bytes by which two logs are told apart.
const HEAD: u64 = 4 << 10;

fn because(error: io::Error, what: String) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Length and time of a file.
type Version = (u64, Option<SystemTime>);

fn state(metadata: &Metadata) -> Version {
    (metadata.len(), metadata.modified().ok())
}

#[cfg(test)]
mod tests {
    use regimen::checkpoint::Store;

    use super::*;

    #[test]
    fn only_changed_files_are_copied() {
        let dir = tempfile::tempdir().unwrap();
        let store = ObjectStore::open("memory://").unwrap().part_bytes(10);
        let logs = LogUpload::new(&store, dir.path(), "digits/logs");
        fs::write(dir.path().join("metrics.jsonl"), "one line\n").unwrap();
        fs::write(dir.path().join("run.json"), "{}").unwrap();
        fs::write(dir.path().join(".hidden"), "").unwrap();
        fs::create_dir(dir.path().join("step-000000001")).unwrap();
        assert_eq!((logs.upload().unwrap(), logs.upload().unwrap()), (2, 0));
        fs::write(dir.path().join("metrics.jsonl"), "one line\nanother line\n").unwrap();
        assert_eq!(logs.upload().unwrap(), 1);
        let names = store.list("digits/logs".as_ref()).unwrap().into_iter().map(|entry| entry.name);
        assert_eq!(names.collect::<Vec<_>>(), ["metrics.jsonl", "run.json"]);
        assert_eq!(store.read("digits/logs/metrics.jsonl").unwrap(), b"one line\nanother line\n");
        let error = LogUpload::new(&store, dir.path().join("none"), "digits").upload().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
