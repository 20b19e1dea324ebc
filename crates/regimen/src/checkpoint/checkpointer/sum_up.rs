//! What a checkpointer knows at the end of a call: where the newest checkpoint is, and the best.

use regimen_core::metric::Best;
use regimen_core::run::Report;

use super::snapshot::RUN;
use crate::checkpoint::{Checkpointer, Which};

/// Adds it to `report`.
pub(crate) fn sum_up(saver: &Checkpointer, report: &mut Report) {
    report.saved = saver.saves.resumable().map(|newest| newest.path().display().to_string());
    let Some((key, goal)) = &saver.best else { return };
    // A best that cannot be read is none to go back to, and no reason to fail what is done.
    let found = saver.checkpoints().first(Which::Best(key.name(), *goal), |best| best.read(RUN));
    let Ok(Some(found)) = found else { return };
    let manifest = found.checkpoint.manifest();
    let Some(&value) = manifest.metrics.get(key.name()) else { return };
    let in_epoch = found.content.get::<u64>("run.train.progress.steps_in_epoch").unwrap_or(0);
    report.add_best(Best {
        key: key.clone(),
        goal: *goal,
        value,
        epoch: manifest.epoch + u64::from(0 < in_epoch),
        train_step: manifest.step,
        checkpoint: Some(found.checkpoint.path().display().to_string()),
    });
}
