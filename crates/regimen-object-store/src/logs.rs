//! Uploads of the files that a run writes on this machine, such as its logs.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use regimen::checkpoint::NewFile;

use crate::ObjectStore;
use crate::key::{child, key};

/// Copies the files of a folder on this machine to an object store.
///
/// The folder is the spool: a log is written there at every step, and copied at every save. A copy that failed is made
/// by the next call.
///
/// ```
/// use std::sync::Arc;
///
/// use regimen::checkpoint::Checkpointer;
/// use regimen_object_store::{LogUpload, ObjectStore};
///
/// let store = ObjectStore::open("memory://")?;
/// let logs = LogUpload::new(&store, "runs/digits", "digits/logs");
/// let saver = Checkpointer::new("digits").store(Arc::new(store)).on_saved(move |_| {
///     if let Err(error) = logs.upload() {
///         report(error);
///     }
/// });
/// # fn report(_: std::io::Error) {}
/// # drop(saver);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct LogUpload {
    store: ObjectStore,
    folder: PathBuf,
    to: PathBuf,
    /// Length and time of each file that was copied.
    copied: Mutex<BTreeMap<String, (u64, Option<SystemTime>)>>,
}

impl LogUpload {
    /// From `folder` on this machine to the directory `to` of `store`.
    pub fn new(store: &ObjectStore, folder: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Self {
        LogUpload { store: store.clone(), folder: folder.into(), to: to.into(), copied: Mutex::default() }
    }

    /// Copies the files that have changed since the last call, and returns their number. An object of the same name is
    /// replaced. Folders, links, and files whose name begins with a dot are left out.
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
            if copied.get(&name) != Some(&state) {
                self.copy(&entry.path(), &name, state.0).map_err(|error| {
                    io::Error::new(
                        error.kind(),
                        format!("cannot upload `{}`: {error}", entry.path().display()),
                    )
                })?;
                copied.insert(name, state);
                count += 1;
            }
        }
        Ok(count)
    }

    /// Copies the first `length` bytes of a file.
    fn copy(&self, file: &Path, name: &str, length: u64) -> io::Result<()> {
        let key = child(&key(self.store.prefix(), &self.to)?, name);
        let mut upload = Box::new(self.store.upload(key, |_| {})?);
        io::copy(&mut File::open(file)?.take(length), &mut upload)?;
        upload.sync()
    }
}

fn state(metadata: &Metadata) -> (u64, Option<SystemTime>) {
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
