//! The checkpoints of a run directory: which there are, and the one to restore.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, io};

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
/// match Checkpoints::in_dir("runs/digits").load(Which::Newest)? {
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
}

/// Which checkpoint to restore. Only resumable ones are considered.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// The one saved last.
    Newest,
    /// The one of this step; the one saved last where the step was saved again.
    Step(u64),
    /// The one with the best value of a metric; the one saved first where several are equal.
    /// Those without a finite value do not count.
    Best(&'a str, Goal),
}

/// What a run directory holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// Checkpoints whose manifests hold, resumable or not, the newest first.
    pub checkpoints: Vec<Checkpoint>,
    /// Whatever else has the name of a checkpoint: those whose manifests do not hold, links that lead
    /// nowhere.
    pub skipped: Vec<Skipped>,
}

/// A checkpoint that was passed over.
#[derive(Debug)]
pub struct Skipped {
    /// Its directory.
    pub path: PathBuf,
    /// Why; names the file.
    pub reason: CheckpointError,
}

/// A checkpoint that was looked for, with what it holds.
#[derive(Debug)]
pub struct Found<T = BTreeMap<String, StateDict>> {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// What was read from it.
    pub content: T,
    /// The damaged ones that were passed over on the way.
    pub skipped: Vec<Skipped>,
}

impl Checkpoints {
    /// Those in the directory `dir`, which need not exist.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Checkpoints::on(Arc::new(Disk), dir)
    }

    /// The same in another store.
    pub fn on(store: Arc<dyn Store>, dir: impl Into<PathBuf>) -> Self {
        Checkpoints { store, dir: dir.into(), run: None }
    }

    /// Skips those that another run than `run` wrote.
    pub fn of_run(self, run: impl Into<String>) -> Self {
        Checkpoints { run: Some(run.into()), ..self }
    }

    /// All there are, also behind symbolic links. Their manifests are read and checked, their parts
    /// are not.
    pub fn list(&self) -> Result<Listing, CheckpointError> {
        let entries = match self.store.list(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            entries => entries.map_err(failed("list", &self.dir))?,
        };
        let mut listing = Listing::default();
        // Whatever has a checkpoint's name is read or named as skipped, also where it is a link.
        for entry in entries.iter().filter(|entry| Name::parse(&entry.name).is_some()) {
            let path = self.dir.join(&entry.name);
            match self.open(path.clone()) {
                Ok(checkpoint) => listing.checkpoints.push(checkpoint),
                Err(reason) => listing.skipped.push(Skipped { path, reason }),
            }
        }
        let age = |checkpoint: &Checkpoint| (checkpoint.manifest().save, checkpoint.manifest().step);
        listing.checkpoints.sort_by(|a, b| age(b).cmp(&age(a)).then_with(|| b.path().cmp(a.path())));
        listing.skipped.sort_by(|a, b| b.path.cmp(&a.path));
        Ok(listing)
    }

    /// The checkpoint of `which` that is whole, with all its parts.
    ///
    /// Goes on to the next best where one is damaged. None where there are no checkpoints to
    /// choose from; an error where there are and not one of them is whole.
    pub fn load(&self, which: Which<'_>) -> Result<Option<Found>, CheckpointError> {
        self.first(which, Checkpoint::read_all)
    }

    /// As [`load`](Checkpoints::load), but takes from a checkpoint what `read` takes, such as one
    /// part by [`Checkpoint::read`], or nothing but the certainty by [`Checkpoint::verify`]. Where
    /// `read` fails the checkpoint is passed over.
    pub fn first<T>(
        &self,
        which: Which<'_>,
        mut read: impl FnMut(&Checkpoint) -> Result<T, CheckpointError>,
    ) -> Result<Option<Found<T>>, CheckpointError> {
        let Listing { checkpoints, mut skipped } = self.list()?;
        if let Which::Step(step) = which {
            skipped.retain(|skipped| {
                let name = skipped.path.file_name().and_then(|name| Name::parse(name.to_str()?));
                name.is_some_and(|name| name.step == step && !name.post_mortem)
            });
        }
        for checkpoint in which.candidates(checkpoints) {
            match read(&checkpoint) {
                Ok(content) => return Ok(Some(Found { checkpoint, content, skipped })),
                Err(reason) => skipped.push(Skipped { path: checkpoint.path().to_owned(), reason }),
            }
        }
        if skipped.is_empty() {
            return Ok(None);
        }
        let skipped: Vec<_> = skipped.iter().map(Skipped::to_string).collect();
        let cause = format!("no checkpoint in it is whole: {}", skipped.join("; "));
        Err(CheckpointError::new("restore from", &self.dir, cause))
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

impl Which<'_> {
    /// The checkpoints to try, one after another; `newest_first` are all.
    fn candidates(self, newest_first: Vec<Checkpoint>) -> Vec<Checkpoint> {
        let mut candidates = newest_first;
        candidates.retain(|checkpoint| checkpoint.manifest().resumable);
        match self {
            Which::Newest => {}
            Which::Step(step) => candidates.retain(|checkpoint| checkpoint.manifest().step == step),
            Which::Best(metric, goal) => {
                candidates.retain(|checkpoint| value(checkpoint.manifest(), metric).is_some());
                candidates.sort_by(|a, b| compare(goal, a.manifest(), b.manifest(), metric));
            }
        }
        candidates
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The reason names a file inside the checkpoint, and so the checkpoint.
        self.reason.fmt(f)
    }
}
