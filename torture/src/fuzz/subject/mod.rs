//! Fuzz subjects: one reader per file, each with a second reader to compare with.

mod checkpoints;
mod control;
mod csv;
mod idx;
mod images;
mod lines;
mod logs;
mod restores;
mod safetensors;
mod tokens;
mod toy;
mod trackers;
mod wide;

use std::path::Path;

use regimen::BoxError;
use regimen::random::Random;

use super::trial::{Fault, Trial};

/// The trait of fuzzed readers of external files.
pub(super) trait Subject {
    /// The name in the table.
    fn name(&self) -> &'static str;

    /// Memory limit, as a multiple of the file size.
    fn multiple(&self) -> usize {
        16
    }

    /// Draws a file, reads it, and compares the result with a second reader.
    fn attempt(&self, random: &mut Random, trial: &mut Trial) -> Result<(), Fault>;
}

pub(super) use self::control::controls;

/// All subjects, with `folder` for their files. A seed selects by position, so the order is fixed.
pub(super) fn all(folder: &Path) -> Result<Vec<Box<dyn Subject>>, BoxError> {
    Ok(vec![
        Box::new(csv::Rows::new(folder)),
        Box::new(csv::Columns::new()),
        Box::new(idx::Values::new()),
        Box::new(lines::Text::new()),
        Box::new(tokens::Tokens::new()),
        Box::new(images::Images::new(folder)?),
        Box::new(safetensors::Weights::new()?),
        Box::new(checkpoints::Checkpoint::new()?),
        Box::new(restores::Restores::new()?),
        Box::new(logs::Logs::new(folder)?),
        Box::new(wide::Wide::new(folder)?),
        Box::new(trackers::Trackers::new(folder)?),
    ])
}
