//! The settings of a checkpointer. They do not change once a run has begun.

use std::path::PathBuf;
use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::metric::Key;

use super::background::OnSaved;
use super::cadences::Cadences;
use super::capture::Of;
use super::save_stats::SaveStats;
use crate::checkpoint::{Checkpoints, Disk, Goal, Keep, Store};
use crate::preemption::Deadline;

/// The settings of a [`Checkpointer`](super::Checkpointer), where each is documented.
pub(super) struct Settings {
    pub(super) dir: PathBuf,
    /// `None` is this machine's disk, where a lock file keeps a second writer away.
    pub(super) store: Option<Arc<dyn Store>>,
    pub(super) cadences: Cadences,
    pub(super) keep: Keep,
    pub(super) best: Option<(Key, Goal)>,
    pub(super) restores_best: bool,
    pub(super) in_background: bool,
    /// Whether each rank writes its own share of a part.
    pub(super) in_pieces: bool,
    pub(super) skips: bool,
    pub(super) stops_on_failure: bool,
    pub(super) post_mortem: bool,
    pub(super) must_match: bool,
    pub(super) saves_not_finite: bool,
    /// Parts that a restore leaves as they are.
    pub(super) left_out: Vec<String>,
    pub(super) on_saved: Option<OnSaved>,
    pub(super) stats: SaveStats,
    pub(super) deadline: Option<Deadline>,
    /// The first setting that cannot be used.
    pub(super) mistake: Option<&'static str>,
}

impl Settings {
    pub(super) fn new(dir: PathBuf) -> Self {
        Settings {
            dir,
            store: None,
            cadences: Cadences::default(),
            keep: Keep::all(),
            best: None,
            restores_best: false,
            in_background: true,
            in_pieces: false,
            skips: false,
            stops_on_failure: false,
            post_mortem: true,
            must_match: false,
            saves_not_finite: false,
            left_out: Vec::new(),
            on_saved: None,
            stats: SaveStats::default(),
            deadline: None,
            mistake: None,
        }
    }

    /// Returns an error that names the setting which cannot be used, if there is one.
    pub(super) fn check(&self) -> Result<(), BoxError> {
        if let Some(mistake) = self.mistake {
            return Err(mistake.into());
        }
        if self.restores_best && self.best.is_none() {
            let text =
                "`Checkpointer::restore_best_at_end` needs `keep_min` or `keep_max`, which say by what";
            return Err(text.into());
        }
        if self.in_pieces && !self.store().is_shared() {
            let text = "`Checkpointer::every_rank_writes` needs a store in which each rank sees the files that the others \
                        write, such as a directory of a shared file system; this store has no such files";
            return Err(text.into());
        }
        Ok(self.cadences.check()?)
    }

    /// The ranks whose arrays are in the copy for a save.
    pub(super) fn copied(&self) -> Of {
        if self.in_pieces { Of::EachRank } else { Of::AllRanks }
    }

    /// The store, the machine's disk included.
    pub(super) fn store(&self) -> Arc<dyn Store> {
        self.store.clone().unwrap_or_else(|| Arc::new(Disk))
    }

    /// The checkpoints of the run directory.
    pub(super) fn checkpoints(&self) -> Checkpoints {
        let all = Checkpoints::on(self.store(), &self.dir);
        match &self.best {
            Some((metric, goal)) => all.best_by(metric.name(), *goal),
            None => all,
        }
    }
}
