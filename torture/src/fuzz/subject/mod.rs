//! What is fuzzed: one reader a file, with the second reader it is held to.

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

use std::path::Path;

use regimen::BoxError;
use regimen::random::Random;

use super::trial::{Fault, Trial};

/// A reader of files that come from outside.
pub(super) trait Subject {
    /// What the table calls it.
    fn name(&self) -> &'static str;

    /// How many times the size of its file it may hold in memory.
    fn multiple(&self) -> usize {
        16
    }

    /// Draws a file, has it read, and holds what was read to a second reader.
    fn attempt(&self, random: &mut Random, trial: &mut Trial) -> Result<(), Fault>;
}

pub(super) use self::control::controls;

/// All of them, with `folder` for what they need. Their order is part of what a seed means.
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
    ])
}
