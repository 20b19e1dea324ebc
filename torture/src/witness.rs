//! Who remembers what was acknowledged, and checks a run directory against it.

use std::path::PathBuf;

use regimen::BoxError;
use regimen::checkpoint::{Checkpoints, Which};

use crate::trainer::Over;
use crate::walk::Expected;

/// What must hold of a run directory, whatever was done to the processes that wrote it.
#[derive(Debug)]
pub(crate) struct Witness {
    dir: PathBuf,
    /// The newest step whose checkpoint was acknowledged; 0 for none.
    newest: u64,
    /// How many were acknowledged.
    acknowledged: u64,
    expected: Expected,
}

impl Witness {
    /// Of the run directory `dir`, which is empty or not there yet.
    pub(crate) fn new(dir: impl Into<PathBuf>) -> Self {
        Witness::of(dir, 0)
    }

    /// Of the run directory `dir`, whose checkpoint of the step `newest` was acknowledged.
    pub(crate) fn of(dir: impl Into<PathBuf>, newest: u64) -> Self {
        Witness { dir: dir.into(), newest, acknowledged: 0, expected: Expected::new() }
    }

    /// How many checkpoints were acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Takes what a process told: it must have gone on from what was acknowledged.
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

    /// As [`hear`](Witness::hear), of a process that may have been unable to read the newest
    /// checkpoint, and may then go on from an older one.
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

    /// Loads the newest checkpoint, and returns its step, 0 for none. It must not be older than what
    /// was acknowledged, it must hold what its step has, and nothing in the directory may be broken.
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
            Some((name, _)) => Err(format!("part `{name}` of step {step} is not what was saved").into()),
        }
    }
}
