//! Keys of objects: the names that paths have in a store.

use std::io;
use std::path::{Component, Path as FilePath};

use object_store::path::{Path, PathPart};

/// The folder of a directory that holds the files of the directories in it.
pub(crate) const DATA: &str = ".data";
/// After the name of a directory, the name of its index.
pub(crate) const INDEX: &str = ".index";
/// Before the names of directories that are being written, and of those that are being removed.
const DRAFTS: [&str; 2] = [".tmp-", ".del-"];
/// The lock of a directory.
pub(crate) const LOCK: &str = "LOCK";

/// A directory or file, as its parent's key and its own name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) parent: Path,
    pub(crate) name: String,
}

impl Place {
    /// Whether it is known to this process only: it is being written, or removed.
    pub(crate) fn is_draft(&self) -> bool {
        DRAFTS.iter().any(|draft| self.name.starts_with(draft))
    }

    /// Whether it can be a run directory: other processes know it, and no sweep takes it for data.
    pub(crate) fn is_run(&self) -> bool {
        !self.is_draft() && self.key().parts().all(|part| part.as_ref() != DATA)
    }

    pub(crate) fn key(&self) -> Path {
        child(&self.parent, &self.name)
    }

    /// The key of its index.
    pub(crate) fn index(&self) -> Path {
        child(&self.parent, &format!("{}{INDEX}", self.name))
    }

    /// The key of a file in a folder of the data beside it.
    pub(crate) fn data(&self, folder: &str, file: &str) -> Path {
        child(&child(&child(&self.parent, DATA), folder), file)
    }
}

/// The key of `name` in the directory `parent`.
pub(crate) fn child(parent: &Path, name: &str) -> Path {
    parent.parts().chain([PathPart::from(name)]).collect()
}

/// The key of `path` below `prefix`. A root and `.` are left out.
pub(crate) fn key(prefix: &Path, path: &FilePath) -> io::Result<Path> {
    let mut key = prefix.clone();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                let name = name.to_str().ok_or(io::ErrorKind::InvalidInput)?;
                if name.contains(char::is_control) {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                key = child(&key, name);
            }
            Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(key)
}

/// The place of `path`. Returns `None` for the root of the store.
pub(crate) fn place(prefix: &Path, path: &FilePath) -> io::Result<Option<Place>> {
    let key = key(prefix, path)?;
    let Some(name) = path.file_name() else { return Ok(None) };
    let name = name.to_str().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    let mut parts: Vec<_> = key.parts().collect();
    parts.pop();
    Ok(Some(Place { parent: parts.into_iter().collect(), name }))
}
