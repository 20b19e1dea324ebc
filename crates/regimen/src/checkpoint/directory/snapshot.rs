//! A snapshot: the content of one checkpoint, in memory.

use std::collections::BTreeMap;

use regimen_core::saved::StateDict;

use crate::checkpoint::format::piece::Piece;

/// The content of one checkpoint, in memory. By default resumable, of step 0, without parts.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Completed steps of training.
    pub step: u64,
    /// Completed epochs of training.
    pub epoch: u64,
    /// Whether it was made after an error, and must not be resumed from.
    pub post_mortem: bool,
    /// The values measured at this very step, by the metric's name: [`Keep::best`](super::Keep::best)
    /// goes by them.
    pub metrics: BTreeMap<String, f64>,
    /// The parts by name; each becomes a file of that name.
    pub parts: BTreeMap<String, StateDict>,
}

impl Snapshot {
    /// Whether other ranks have pieces of it too.
    pub(crate) fn is_in_pieces(&self) -> bool {
        self.files(true).next().is_some()
    }

    /// Its files with their content: those that every rank writes, or those of rank 0 alone.
    pub(crate) fn files(&self, are_pieces: bool) -> impl Iterator<Item = (&str, &StateDict)> {
        let files = self.parts.iter().map(|(name, dict)| (&**name, dict));
        files.filter(move |(name, _)| Piece::parse(name).is_some() == are_pieces)
    }
}
