//! The writer of a run directory. A checkpoint is whole and durable before it is acknowledged.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{write_manifest, write_parts};
use super::prune;
use crate::checkpoint::error::{CheckpointError, failed};
use crate::checkpoint::format::limits::check_run;
use crate::checkpoint::format::manifest::{Manifest, PartFile};
use crate::checkpoint::format::name::{Name, TEMPORARY};
use crate::checkpoint::format::piece::check_file;
use crate::checkpoint::store::create_dirs;
use crate::checkpoint::{
    Checkpoint, Checkpoints, Disk, Keep, LockFile, PruneReport, Snapshot, Store, StoreLock,
};

/// The one writer of a run directory.
///
/// A save is acknowledged by returning, and from then on survives a kill and a power cut:
///
/// ```text
/// create   .tmp-step-000000500
/// write    each part into it, and sync it
/// write    MANIFEST, and sync it
/// sync     .tmp-step-000000500
/// rename   it to step-000000500
/// sync     the run directory
/// ```
///
/// ```no_run
/// use regimen::checkpoint::{Keep, Snapshot, Writer};
///
/// let mut writer = Writer::open("runs/digits", "run-1")?;
/// writer.sweep();
/// let snapshot = Snapshot { step: 500, ..Snapshot::default() };
/// writer.save(&snapshot)?;
/// writer.prune(&Keep::all().last(3));
/// # Ok::<(), regimen::checkpoint::CheckpointError>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    store: Arc<dyn Store>,
    dir: PathBuf,
    run: String,
    /// The number of the last save in this directory.
    saves: u64,
    /// The checkpoints of this run on disk.
    saved: Vec<Checkpoint>,
    /// Whether all of these are durable.
    durable: bool,
    /// The number of parts written at a time.
    threads: usize,
    lock: Option<Arc<LockFile>>,
    /// The same of another store than this machine's disk.
    store_lock: Option<Box<dyn StoreLock>>,
}

/// A checkpoint that is being written.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Its directory until it is whole.
    pub(crate) temporary: PathBuf,
    path: PathBuf,
    manifest: Manifest,
}

impl Writer {
    /// The writer of `dir` for the run called `run`. Creates the directory if it does not exist, and
    /// acquires its [`LockFile`].
    pub fn open(dir: impl Into<PathBuf>, run: impl Into<String>) -> Result<Self, CheckpointError> {
        let dir = dir.into();
        let lock = lock_dir(&dir)?;
        Writer::under(Arc::new(lock), dir, run)
    }

    /// The same under the directory's `lock`, which was acquired before.
    pub(crate) fn under(
        lock: Arc<LockFile>,
        dir: impl Into<PathBuf>,
        run: impl Into<String>,
    ) -> Result<Self, CheckpointError> {
        // Two, so that one syncs while the other writes.
        Ok(Writer { lock: Some(lock), threads: 2, ..Writer::open_on(Arc::new(Disk), dir, run)? })
    }

    /// The same in another store, under its [`lock`](Store::lock). If it has none, that there is one writer is up to
    /// the caller. All is done on the calling thread, and so in the same order each time.
    pub fn open_on(
        store: Arc<dyn Store>,
        dir: impl Into<PathBuf>,
        run: impl Into<String>,
    ) -> Result<Self, CheckpointError> {
        let (dir, run) = (dir.into(), run.into());
        check_run(&run).map_err(failed("write to", &dir))?;
        create_dirs(&*store, &dir).map_err(failed("create", &dir))?;
        let store_lock = store.lock(&dir).map_err(failed("lock", &dir))?;
        let mut saved = Checkpoints::on(store.clone(), &dir).list()?.checkpoints;
        let saves = saved.iter().map(|checkpoint| checkpoint.manifest().save).max().unwrap_or(0);
        saved.retain(|checkpoint| checkpoint.manifest().run == run);
        Ok(Writer { store, dir, run, saves, saved, durable: false, threads: 1, lock: None, store_lock })
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes half-written and half-removed directories of a process that died. Call it before the
    /// first save: its leftovers may fill the disk.
    pub fn sweep(&self) -> PruneReport {
        prune::sweep(&*self.store, &self.dir)
    }

    /// Saves `snapshot`. When this returns without an error, the checkpoint is durable.
    ///
    /// After an error the earlier checkpoints are as they were; what was written of the new one is
    /// removed if that can be done. A step that was saved before is saved in addition to the
    /// earlier save, and [`prune`](Writer::prune) then removes that.
    pub fn save(&mut self, snapshot: &Snapshot) -> Result<Checkpoint, CheckpointError> {
        self.save_on(self.threads, snapshot)
    }

    /// The same with all its work on the calling thread: a save during training leaves it
    /// the other cores.
    pub(crate) fn save_beside(&mut self, snapshot: &Snapshot) -> Result<Checkpoint, CheckpointError> {
        self.save_on(1, snapshot)
    }

    fn save_on(&mut self, threads: usize, snapshot: &Snapshot) -> Result<Checkpoint, CheckpointError> {
        let draft = self.begin(snapshot)?;
        let parts: Vec<_> = snapshot.parts.iter().map(|(name, dict)| (&**name, dict)).collect();
        match write_parts(&*self.store, &draft.temporary, &parts, threads) {
            Ok(files) => self.commit(draft, files),
            Err(error) => {
                self.abandon(&draft);
                Err(error)
            }
        }
    }

    /// Begins a checkpoint: a directory for its files, which are then to be written to it.
    pub(crate) fn begin(&mut self, snapshot: &Snapshot) -> Result<Draft, CheckpointError> {
        let (dir, store) = (&self.dir, &*self.store);
        let entries = store.list(dir).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => failed("write to", dir)(REMOVED),
            _ => failed("list", dir)(error),
        })?;
        self.lock.as_ref().map_or(Ok(()), |lock| lock.renew())?;
        self.store_lock.as_ref().map_or(Ok(()), |lock| lock.renew()).map_err(failed("write to", dir))?;
        let free = |prefix| Name::free(&entries, prefix, snapshot.step, snapshot.post_mortem);
        let temporary = dir.join(format!("{TEMPORARY}{}", free(TEMPORARY)));
        let path = dir.join(free("").to_string());
        let manifest = Manifest {
            run: self.run.clone(),
            save: self.saves + 1,
            step: snapshot.step,
            epoch: snapshot.epoch,
            resumable: !snapshot.post_mortem,
            metrics: snapshot.metrics.clone(),
            parts: BTreeMap::new(),
        };
        snapshot.parts.keys().try_for_each(|name| check_file(name)).map_err(failed("write", &temporary))?;
        let draft = Draft { temporary, path, manifest };
        // Also if it fails: over a network it may have been made.
        store.create_dir(&draft.temporary).map_err(|error| {
            self.abandon(&draft);
            failed("create", &draft.temporary)(error)
        })?;
        Ok(draft)
    }

    /// Makes a checkpoint of the draft, to which `files` were written. When this returns without an error, it is
    /// durable.
    pub(crate) fn commit(
        &mut self,
        mut draft: Draft,
        files: BTreeMap<String, PartFile>,
    ) -> Result<Checkpoint, CheckpointError> {
        let (dir, store) = (&self.dir, &*self.store);
        draft.manifest.parts = files;
        // A failed sync is the end of the whole directory: it is removed, and the next save
        // writes new files.
        let written = write_manifest(store, &draft.temporary, &draft.manifest).and_then(|()| {
            // Also if it fails: over a network it may have been made, and no other save has this number then.
            self.saves += 1;
            store.rename(&draft.temporary, &draft.path).map_err(failed("rename", &draft.temporary))
        });
        if let Err(error) = written {
            self.abandon(&draft);
            return Err(error);
        }
        self.durable = false;
        let checkpoint = Checkpoint::new(self.store.clone(), draft.path, draft.manifest);
        self.saved.push(checkpoint.clone());
        store.sync_dir(dir).map_err(failed("sync", dir))?;
        self.durable = true;
        Ok(checkpoint)
    }

    /// Removes what was written of a checkpoint, if that can be done. Otherwise the next sweep does.
    pub(crate) fn abandon(&self, draft: &Draft) {
        prune::abandon(&*self.store, &draft.temporary);
    }

    /// Removes what `keep` does not ask for, of the checkpoints of this run.
    ///
    /// A checkpoint that cannot be removed is left, and reported. Does nothing before the first save, nor after
    /// one whose last sync failed: the newest checkpoint may then not survive a power cut. A checkpoint
    /// that is a link counts among the others, and is never removed, nor what it leads to.
    pub fn prune(&mut self, keep: &Keep) -> PruneReport {
        if !self.durable {
            return PruneReport::default();
        }
        prune::prune(&*self.store, &self.dir, &mut self.saved, keep)
    }
}

const REMOVED: &str = "the run directory was removed or renamed while the run was under way; create it again, \
                       or move it back, and the next save is written to it";

/// Makes `dir` if it does not exist, and acquires its lock.
pub(crate) fn lock_dir(dir: &Path) -> Result<LockFile, CheckpointError> {
    create_dirs(&Disk, dir).map_err(failed("create", dir))?;
    LockFile::acquire(dir)
}
