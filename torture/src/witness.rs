//! The witness: remembers acknowledged checkpoints and checks a run directory against them.

use std::path::PathBuf;

use regimen::BoxError;
use regimen::checkpoint::{Checkpoints, Which};

use crate::trainer::Over;
use crate::walk::Expected;

/// The invariants of a run directory, for any fate of the processes that wrote it.
#[derive(Debug)]
pub(crate) struct Witness {
    dir: PathBuf,
    /// The newest acknowledged step; 0 for none.
    newest: u64,
    /// Number of acknowledged checkpoints.
    acknowledged: u64,
    expected: Expected,
}

impl Witness {
    /// Creates a witness of the run directory `dir`, which is empty or does not exist.
    pub(crate) fn new(dir: impl Into<PathBuf>) -> Self {
        Witness::of(dir, 0)
    }

    /// Creates a witness of the run directory `dir`, whose checkpoint of step `newest` was acknowledged.
    pub(crate) fn of(dir: impl Into<PathBuf>, newest: u64) -> Self {
        Witness { dir: dir.into(), newest, acknowledged: 0, expected: Expected::new() }
    }

    /// Number of acknowledged checkpoints.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Reads the output of a process, which must have resumed from the acknowledged checkpoint.
    pub(crate) fn hear(&mut self, over: &Over) -> Result<(), String> {
        let before = self.newest;
        self.hear_disturbed(over)?;
        match over.told("from").next() {
            Some(from) if from < before => {
                Err(format!("a restart went on from step {from}, and step {before} was acknowledged"))
            }
            _ => Ok(()),
        }
    }

    /// Like [`hear`](Witness::hear), for a process that may have failed to read the newest
    /// checkpoint. It may resume from an older one.
    pub(crate) fn hear_disturbed(&mut self, over: &Over) -> Result<(), String> {
        for step in over.told("saved") {
            self.acknowledged += 1;
            self.newest = self.newest.max(step);
        }
        if over.errors.contains("panicked") {
            return Err(format!("the training panicked: {}", over.errors.trim()));
        }
        Ok(())
    }

    /// Loads the newest checkpoint, and returns its step, or 0 if there is none. Returns an error if it is
    /// older than the acknowledged one, has wrong contents, or anything in the directory is broken.
    pub(crate) fn check(&mut self) -> Result<u64, String> {
        self.look().map_err(|error| error.to_string())
    }

    fn look(&mut self) -> Result<u64, BoxError> {
        let newest = self.newest;
        let Some(found) = Checkpoints::in_dir(&self.dir).load(Which::Latest)? else {
            return if newest == 0 {
                Ok(0)
            } else {
                Err(format!("no checkpoint is left of {newest}").into())
            };
        };
        if let Some(broken) = found.skipped.first() {
            return Err(format!("a broken checkpoint lies in the directory: {broken}").into());
        }
        let step = found.checkpoint.manifest().step;
        if step < newest {
            return Err(format!("the newest checkpoint is of step {step}; {newest} was acknowledged").into());
        }
        let expected = self.expected.at(step)?;
        match expected.iter().find(|(name, dict)| found.content.get(*name) != Some(dict)) {
            None => Ok(step),
            Some((name, _)) => Err(format!("part `{name}` of step {step} differs from the saved one").into()),
        }
    }
}
