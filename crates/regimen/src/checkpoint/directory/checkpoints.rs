//! The checkpoints of a run directory: listing and selection.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, io};

use regimen_core::error::WithCauses;
use regimen_core::run::Which;
use regimen_core::saved::StateDict;

use super::keep::{compare, value};
use crate::checkpoint::error::{CheckpointError, failed};
use crate::checkpoint::format::name::Name;
use crate::checkpoint::{Checkpoint, Disk, Goal, Store};

/// The checkpoints of a run directory, to be read. Reading needs no lock.
///
/// ```
/// use regimen::checkpoint::{Checkpoints, Which};
///
/// match Checkpoints::in_dir("runs/digits").load(Which::Latest)? {
///     Some(found) => println!("step {}", found.checkpoint.manifest().step),
///     None => println!("a new run"),
/// }
/// # Ok::<(), regimen::checkpoint::CheckpointError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Checkpoints {
    store: Arc<dyn Store>,
    dir: PathBuf,
    run: Option<String>,
    best_by: Option<(String, Goal)>,
}

/// The checkpoints of a run directory.
#[derive(Debug, Default)]
pub struct Listing {
    /// Checkpoints whose manifests are whole, resumable or not, the newest first.
    pub checkpoints: Vec<Checkpoint>,
    /// Other directories with the name of a checkpoint: those whose manifests are damaged, and links
    /// to nothing.
    pub skipped: Vec<SkippedCheckpoint>,
}

/// A checkpoint that was passed over.
#[derive(Debug)]
pub struct SkippedCheckpoint {
    /// Its directory.
    pub path: PathBuf,
    /// Why; names the file.
    pub reason: CheckpointError,
}

/// A checkpoint that was selected, with its content.
#[derive(Debug)]
pub struct LoadedCheckpoint<T = BTreeMap<String, StateDict>> {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The content read from it.
    pub content: T,
    /// The damaged ones that were passed over on the way.
    pub skipped: Vec<SkippedCheckpoint>,
}

impl Checkpoints {
    /// The checkpoints in the directory `dir`, which need not exist.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Checkpoints::on(Arc::new(Disk), dir)
    }

    /// The same in another store.
    pub fn on(store: Arc<dyn Store>, dir: impl Into<PathBuf>) -> Self {
        Checkpoints { store, dir: dir.into(), run: None, best_by: None }
    }

    /// Skips those that another run than `run` wrote.
    pub fn of_run(self, run: impl Into<String>) -> Self {
        Checkpoints { run: Some(run.into()), ..self }
    }

    /// Sets the metric that [`Which::Best`] goes by.
    pub fn best_by(self, metric: impl Into<String>, goal: Goal) -> Self {
        Checkpoints { best_by: Some((metric.into(), goal)), ..self }
    }

    /// Lists all of them, also behind symbolic links. Their manifests are read and checked, their parts
    /// are not.
    pub fn list(&self) -> Result<Listing, CheckpointError> {
        let entries = match self.store.list(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            entries => entries.map_err(failed("list", &self.dir))?,
        };
        let mut listing = Listing::default();
        // Every entry with a checkpoint's name is read or named as skipped, also if it is a link.
        for entry in entries.iter().filter(|entry| Name::parse(&entry.name).is_some()) {
            let path = self.dir.join(&entry.name);
            match self.open(path.clone()) {
                Ok(checkpoint) => listing.checkpoints.push(checkpoint),
                Err(reason) => listing.skipped.push(SkippedCheckpoint { path, reason }),
            }
        }
        let age = |checkpoint: &Checkpoint| (checkpoint.manifest().save, checkpoint.manifest().step);
        listing.checkpoints.sort_by(|a, b| age(b).cmp(&age(a)).then_with(|| b.path().cmp(a.path())));
        listing.skipped.sort_by(|a, b| b.path.cmp(&a.path));
        Ok(listing)
    }

    /// Loads the whole checkpoint that `which` selects, with all its parts.
    ///
    /// A damaged one is passed over for the next best. Returns `None` if there are no checkpoints to
    /// select from. It is an error if there are some but all are damaged, and if the best is asked for
    /// without [`best_by`](Checkpoints::best_by).
    pub fn load(&self, which: Which<'_>) -> Result<Option<LoadedCheckpoint>, CheckpointError> {
        self.load_with(which, Checkpoint::read_all)
    }

    /// As [`load`](Checkpoints::load), but reads with `read`: one part by [`Checkpoint::read`], or
    /// nothing but the certainty by [`Checkpoint::verify`]. If `read` fails, the checkpoint is passed over.
    pub fn load_with<T>(
        &self,
        which: Which<'_>,
        mut read: impl FnMut(&Checkpoint) -> Result<T, CheckpointError>,
    ) -> Result<Option<LoadedCheckpoint<T>>, CheckpointError> {
        if let Which::Path(path) = which {
            let checkpoint = self.open(path.to_owned())?;
            if !checkpoint.manifest().resumable {
                let cause =
                    "it was saved on an error and is for the post-mortem only; take its parts with `Load`";
                return Err(CheckpointError::new("go on from", path, cause));
            }
            let content = read(&checkpoint)?;
            return Ok(Some(LoadedCheckpoint { checkpoint, content, skipped: Vec::new() }));
        }
        let Listing { checkpoints, mut skipped } = self.list()?;
        if let Which::Step(step) = which {
            skipped.retain(|skipped| {
                let name = skipped.path.file_name().and_then(|name| Name::parse(name.to_str()?));
                name.is_some_and(|name| name.step == step && !name.post_mortem)
            });
        }
        for checkpoint in self.candidates(which, checkpoints)? {
            match read(&checkpoint) {
                Ok(content) => return Ok(Some(LoadedCheckpoint { checkpoint, content, skipped })),
                Err(reason) => skipped.push(SkippedCheckpoint { path: checkpoint.path().to_owned(), reason }),
            }
        }
        if skipped.is_empty() {
            return Ok(None);
        }
        let skipped: Vec<_> = skipped.iter().map(SkippedCheckpoint::to_string).collect();
        let cause = format!("no checkpoint in it is whole: {}", skipped.join("; "));
        Err(CheckpointError::new("restore from", &self.dir, cause))
    }

    /// The checkpoints to try, one after another.
    fn candidates(
        &self,
        which: Which<'_>,
        newest_first: Vec<Checkpoint>,
    ) -> Result<Vec<Checkpoint>, CheckpointError> {
        let mut candidates = newest_first;
        candidates.retain(|checkpoint| checkpoint.manifest().resumable);
        match which {
            Which::Latest => {}
            Which::Step(step) => candidates.retain(|checkpoint| checkpoint.manifest().step == step),
            Which::Best => {
                let cause = "the best by what? say it with `Checkpointer::keep_min`, `keep_max` or `Checkpoints::best_by`";
                let best_by = self.best_by.as_ref().ok_or(cause);
                let (metric, goal) = best_by.map_err(failed("restore from", &self.dir))?;
                candidates.retain(|checkpoint| value(checkpoint.manifest(), metric).is_some());
                candidates.sort_by(|a, b| compare(*goal, a.manifest(), b.manifest(), metric));
            }
            other => {
                let cause = format!("{other:?} is not known to it");
                return Err(CheckpointError::new("restore from", &self.dir, cause));
            }
        }
        Ok(candidates)
    }

    fn open(&self, path: PathBuf) -> Result<Checkpoint, CheckpointError> {
        let checkpoint = Checkpoint::open_on(self.store.clone(), path)?;
        let run = &checkpoint.manifest().run;
        if self.run.as_ref().is_some_and(|expected| expected != run) {
            let cause = format!("it belongs to the run {run}");
            return Err(CheckpointError::new("use", checkpoint.path(), cause));
        }
        Ok(checkpoint)
    }
}

impl fmt::Display for SkippedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The reason names a file inside the checkpoint, and so the checkpoint.
        WithCauses(&self.reason).fmt(f)
    }
}
