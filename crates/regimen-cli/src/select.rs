//! The checkpoints that a command line argument names.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use regimen::BoxError;
use regimen::checkpoint::{Checkpoint, Checkpoints, Disk, Listing, Store, Which};
use regimen_object_store::ObjectStore;

/// A checkpoint or a run directory, on this machine or in an object store.
pub(crate) struct Source {
    pub(crate) store: Arc<dyn Store>,
    /// In the store.
    path: PathBuf,
    /// As it was given.
    argument: PathBuf,
}

impl Source {
    /// The source of a path, or of a URL.
    pub(crate) fn of(argument: &Path) -> Result<Self, BoxError> {
        let url = argument.to_str().filter(|text| text.contains("://"));
        let (store, path): (Arc<dyn Store>, _) = match url.map(ObjectStore::locate).transpose()? {
            Some((store, path)) => (Arc::new(store), path),
            None => (Arc::new(Disk), argument.to_owned()),
        };
        Ok(Source { store, path, argument: argument.to_owned() })
    }

    /// The checkpoint that it is, or all checkpoints of the run directory, newest first.
    pub(crate) fn all(&self) -> Result<Listing, BoxError> {
        if self.is_checkpoint() {
            return Ok(Listing { checkpoints: vec![self.open()?], skipped: Vec::new() });
        }
        // A missing directory has no checkpoints either, but here it is a typing error.
        self.store.list(&self.path).map_err(|cause| format!("cannot read `{self}`: {cause}"))?;
        let listing = Checkpoints::on(self.store.clone(), &self.path).list()?;
        match listing.checkpoints.is_empty() && listing.skipped.is_empty() {
            true => Err(self.none()),
            false => Ok(listing),
        }
    }

    /// The checkpoint that it is, or the newest undamaged one of the run directory.
    pub(crate) fn one(&self) -> Result<Checkpoint, BoxError> {
        if self.is_checkpoint() {
            return self.open();
        }
        let found = Checkpoints::on(self.store.clone(), &self.path);
        let found = found.load_with(Which::Latest, Checkpoint::verify)?;
        Ok(found.ok_or_else(|| self.none())?.checkpoint)
    }

    /// Whether it is a checkpoint and not a directory of checkpoints. One that cannot be read is one: its error is that of
    /// [`open`](Source::open).
    fn is_checkpoint(&self) -> bool {
        let manifest = self.store.open(&self.path.join("MANIFEST"));
        let is_none = |kind| matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory);
        // An empty path is the root of a store.
        !self.path.as_os_str().is_empty() && manifest.err().is_none_or(|error| !is_none(error.kind()))
    }

    fn open(&self) -> Result<Checkpoint, BoxError> {
        Ok(Checkpoint::open_on(self.store.clone(), &self.path)?)
    }

    fn none(&self) -> BoxError {
        format!("`{self}` is neither a checkpoint nor a run directory with one").into()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.argument.display().fmt(f)
    }
}

/// The directory name of a checkpoint.
pub(crate) fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
