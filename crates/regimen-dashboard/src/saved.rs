//! The checkpoints of a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use regimen::checkpoint::Checkpoints;

use crate::model::SavedStep;

/// Lists the checkpoints of a folder, and again after the folder has changed. Manifests are read, parts are not.
#[derive(Debug)]
pub(crate) struct SavedSteps {
    dir: PathBuf,
    /// The change of the folder after which it was listed.
    listed: Option<SystemTime>,
}

impl SavedSteps {
    pub(crate) fn in_dir(dir: &Path) -> Self {
        SavedSteps { dir: dir.to_owned(), listed: None }
    }

    /// Replaces `saved` if the folder has changed. A checkpoint that is damaged is left out.
    pub(crate) fn look(&mut self, saved: &mut Vec<SavedStep>) -> Result<(), String> {
        let changed = fs::metadata(&self.dir).and_then(|dir| dir.modified()).ok();
        if changed == self.listed {
            return Ok(());
        }
        let listing = Checkpoints::in_dir(&self.dir).list().map_err(|error| error.to_string())?;
        let manifests = listing.checkpoints.iter().map(|checkpoint| checkpoint.manifest());
        let step = manifests.map(|manifest| SavedStep {
            step: manifest.step,
            epoch: manifest.epoch,
            is_post_mortem: !manifest.resumable,
            metrics: manifest.metrics.clone(),
        });
        *saved = step.collect();
        self.listed = changed;
        Ok(())
    }
}
