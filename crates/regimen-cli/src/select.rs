//! The checkpoints that a path on the command line means.

use std::path::Path;

use regimen::BoxError;
use regimen::checkpoint::{Checkpoint, Checkpoints, Listing, Which};

/// Whether `path` is a checkpoint, and not a directory of them.
fn is_checkpoint(path: &Path) -> bool {
    path.join("MANIFEST").exists()
}

/// The checkpoint `path`, or all of the run directory `path`, the newest first.
pub(crate) fn all(path: &Path) -> Result<Listing, BoxError> {
    if is_checkpoint(path) {
        return Ok(Listing { checkpoints: vec![Checkpoint::open(path)?], skipped: Vec::new() });
    }
    // A directory that is not there has no checkpoints either, but that is a typing mistake here.
    std::fs::metadata(path).map_err(|cause| format!("cannot read `{}`: {cause}", path.display()))?;
    let listing = Checkpoints::in_dir(path).list()?;
    match listing.checkpoints.is_empty() && listing.skipped.is_empty() {
        true => Err(none(path)),
        false => Ok(listing),
    }
}

/// The checkpoint `path`, or the newest whole one of the run directory `path`.
pub(crate) fn one(path: &Path) -> Result<Checkpoint, BoxError> {
    if is_checkpoint(path) {
        return Ok(Checkpoint::open(path)?);
    }
    let found = Checkpoints::in_dir(path).load_with(Which::Latest, Checkpoint::verify)?;
    Ok(found.ok_or_else(|| none(path))?.checkpoint)
}

fn none(path: &Path) -> BoxError {
    format!("`{}` is no checkpoint, and holds none", path.display()).into()
}

/// The name of a checkpoint's directory.
pub(crate) fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
