//! The checkpoints that a command line path names.

use std::path::Path;

use regimen::BoxError;
use regimen::checkpoint::{Checkpoint, Checkpoints, Listing, Which};

/// Returns `true` if `path` is a checkpoint and not a directory of checkpoints.
fn is_checkpoint(path: &Path) -> bool {
    path.join("MANIFEST").exists()
}

/// The checkpoint `path`, or all checkpoints of the run directory `path`, newest first.
pub(crate) fn all(path: &Path) -> Result<Listing, BoxError> {
    if is_checkpoint(path) {
        return Ok(Listing { checkpoints: vec![Checkpoint::open(path)?], skipped: Vec::new() });
    }
    // A missing directory has no checkpoints either, but here it is a typing error.
    std::fs::metadata(path).map_err(|cause| format!("cannot read `{}`: {cause}", path.display()))?;
    let listing = Checkpoints::in_dir(path).list()?;
    match listing.checkpoints.is_empty() && listing.skipped.is_empty() {
        true => Err(none(path)),
        false => Ok(listing),
    }
}

/// The checkpoint `path`, or the newest undamaged one of the run directory `path`.
pub(crate) fn one(path: &Path) -> Result<Checkpoint, BoxError> {
    if is_checkpoint(path) {
        return Ok(Checkpoint::open(path)?);
    }
    let found = Checkpoints::in_dir(path).load_with(Which::Latest, Checkpoint::verify)?;
    Ok(found.ok_or_else(|| none(path))?.checkpoint)
}

fn none(path: &Path) -> BoxError {
    format!("`{}` is neither a checkpoint nor a run directory with one", path.display()).into()
}

/// The directory name of a checkpoint.
pub(crate) fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
