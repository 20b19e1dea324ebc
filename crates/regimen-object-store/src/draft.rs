//! Directories that only this process knows: those that are being written, and those that are being removed.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::index::{File, Index};
use crate::lease::Held;

/// A directory without an index.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Its folder below `.data`.
    pub(crate) folder: String,
    /// Its files. `None` is one that was not synced.
    pub(crate) files: BTreeMap<String, Option<File>>,
    /// The lock of its parent when it was begun, if there was one.
    pub(crate) lock: Option<Weak<Held>>,
    /// Whether an index of it may exist: its files must then not be removed.
    pub(crate) is_in_doubt: bool,
}

impl Draft {
    /// A new one, in a folder of its own.
    pub(crate) fn new(name: &str, lock: Option<Weak<Held>>) -> Self {
        let folder = format!("{}-{}", name.trim_start_matches('.'), random());
        Draft { folder, files: BTreeMap::new(), lock, is_in_doubt: false }
    }

    /// That of a directory whose index was removed.
    pub(crate) fn of(index: Index) -> Self {
        let files = index.files.into_iter().map(|(name, file)| (name, Some(file))).collect();
        Draft { folder: index.folder, files, lock: None, is_in_doubt: false }
    }

    /// The index that makes it a directory.
    pub(crate) fn index(&self) -> io::Result<Index> {
        let file = |(name, file): (&String, &Option<File>)| {
            let file = file.ok_or_else(|| io::Error::other(format!("`{name}` in it was not synced")))?;
            Ok((name.clone(), file))
        };
        let files = self.files.iter().map(file).collect::<io::Result<_>>()?;
        Ok(Index { folder: self.folder.clone(), files })
    }
}

/// 16 hexadecimal digits that no other process has.
pub(crate) fn random() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seed = (COUNT.fetch_add(1, Ordering::Relaxed), std::process::id(), now.as_nanos());
    // The hasher's keys are random numbers of the system.
    format!("{:016x}", RandomState::new().hash_one(seed))
}
