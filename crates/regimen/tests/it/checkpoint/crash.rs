//! A power cut at every operation of a run that saves and prunes. A reboot finds one of the saves,
//! whole, and every acknowledged one. Lightning and the distributed checkpoints of torch lose
//! acknowledged saves here, because they sync too little.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use regimen::checkpoint::{
    CheckpointError, Keep, NewFile, OpenFile, SimDisk, Store, StoreEntry, Which, Writer,
};

use super::common::*;

/// Outcomes of each power cut.
const OUTCOMES: u64 = 64;

/// The number of the scenario's save after an error.
const POST_MORTEM: u64 = 4;

/// A run that saves, saves a step again, saves after an error, and prunes. Pushes the number of each
/// save to `acknowledged` at that time.
fn scenario(store: Arc<dyn Store>, acknowledged: &mut Vec<u64>) -> Result<(), CheckpointError> {
    let keep = Keep::all().last(1);
    let mut writer = Writer::open_on(store, DIR, RUN)?;
    writer.sweep();
    for (save, step) in [(1, 10), (2, 20)] {
        writer.save(&snapshot(step, save))?;
        acknowledged.push(save);
    }
    writer.prune(&keep);
    writer.save(&snapshot(20, 3))?;
    acknowledged.push(3);
    writer.prune(&keep);
    let mut post_mortem = snapshot(20, POST_MORTEM);
    post_mortem.post_mortem = true;
    writer.save(&post_mortem)?;
    acknowledged.push(POST_MORTEM);
    writer.save(&snapshot(30, 5))?;
    acknowledged.push(5);
    writer.prune(&keep);
    Ok(())
}

/// A disk on which a process was killed between making a directory and syncing it.
fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir(Path::new("/runs")).unwrap();
    disk
}

/// Checks the disk after a reboot, and that a new process can continue from it.
fn check(disk: &SimDisk, acknowledged: &[u64]) -> Result<(), String> {
    let listing = checkpoints(disk).list().map_err(|error| error.to_string())?;
    if let Some(skipped) = listing.skipped.first() {
        return Err(format!("there is a broken one: {skipped}"));
    }
    for checkpoint in &listing.checkpoints {
        checkpoint.verify().map_err(|error| format!("there is a broken one: {error}"))?;
    }
    let mut saves = listing.checkpoints.iter().map(|checkpoint| checkpoint.manifest().save);
    if acknowledged.contains(&POST_MORTEM) && !saves.any(|save| save == POST_MORTEM) {
        return Err("the save after an error was acknowledged, and is gone".to_owned());
    }
    let found = checkpoints(disk).load(Which::Latest).map_err(|error| error.to_string())?;
    let save = found.as_ref().map_or(0, |found| found.checkpoint.manifest().save);
    let last = acknowledged.iter().rfind(|&&save| save != POST_MORTEM).copied().unwrap_or(0);
    if save < last {
        return Err(format!("save {last} was acknowledged, {save} was found"));
    }
    if found.is_some_and(|found| found.content != parts(save)) {
        return Err(format!("save {save} does not hold what was saved"));
    }
    let mut writer = Writer::open_on(Arc::new(disk.clone()), DIR, RUN).map_err(|error| error.to_string())?;
    let mut failures = writer.sweep().failures;
    writer.save(&snapshot(40, 6)).map_err(|error| error.to_string())?;
    failures.extend(writer.prune(&Keep::all().last(1)).failures);
    let left = names(disk).into_iter().filter(|name| !name.starts_with("post-mortem"));
    if !failures.is_empty() || !left.eq(["step-000000040"]) {
        return Err(format!("{:?} is left over: {failures:?}", names(disk)));
    }
    Ok(())
}

/// Cuts the power at every operation of the scenario. Returns the first failure, if any.
fn cut_everywhere(store_on: impl Fn(SimDisk) -> Arc<dyn Store>) -> Result<u64, String> {
    let (whole, start) = (disk(), disk().operations());
    scenario(store_on(whole.clone()), &mut Vec::new()).map_err(|error| error.to_string())?;
    for n in start..=whole.operations() {
        let (disk, mut acknowledged) = (disk(), Vec::new());
        disk.cut_power_at(n);
        let ended = scenario(store_on(disk.clone()), &mut acknowledged);
        assert!(ended.is_err() || whole.operations() <= n + 20, "the power was on after operation {n}");
        for seed in 0..OUTCOMES {
            let what = |error| format!("power cut at operation {n}, outcome {seed}: {error}");
            check(&disk.after_power_cut(seed), &acknowledged).map_err(what)?;
        }
    }
    Ok(whole.operations() - start)
}

#[test]
fn a_power_cut_at_any_operation_leaves_the_old_or_the_new() {
    let operations = cut_everywhere(|disk| Arc::new(disk)).unwrap();
    assert!(100 < operations, "the scenario has only {operations} operations");
}

#[test]
fn without_any_one_sync_a_power_cut_does_harm() {
    let all = Arc::new(WithoutSync::new(disk(), u64::MAX));
    scenario(all.clone(), &mut Vec::new()).unwrap();
    let syncs = all.syncs.load(Ordering::Relaxed);
    assert!(20 < syncs, "the scenario has only {syncs} syncs");
    for n in 0..syncs {
        let outcome = cut_everywhere(|disk| Arc::new(WithoutSync::new(disk, n)));
        assert!(outcome.is_err(), "nobody misses sync {n} of {syncs}");
    }
}

/// A disk that forgets one sync and calls it a success.
#[derive(Clone, Debug)]
struct WithoutSync {
    disk: SimDisk,
    left_out: u64,
    syncs: Arc<AtomicU64>,
}

impl WithoutSync {
    fn new(disk: SimDisk, left_out: u64) -> Self {
        WithoutSync { disk, left_out, syncs: Arc::default() }
    }

    fn sync(&self, sync: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
        let n = self.syncs.fetch_add(1, Ordering::Relaxed);
        if n == self.left_out { Ok(()) } else { sync() }
    }
}

impl Store for WithoutSync {
    fn list(&self, dir: &Path) -> std::io::Result<Vec<StoreEntry>> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn create(&self, file: &Path) -> std::io::Result<Box<dyn NewFile>> {
        Ok(Box::new(FileWithoutSync { file: self.disk.create(file)?, store: self.clone() }))
    }

    fn open(&self, file: &Path) -> std::io::Result<OpenFile> {
        self.disk.open(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.sync(|| self.disk.sync_dir(dir))
    }

    fn remove_file(&self, file: &Path) -> std::io::Result<()> {
        self.disk.remove_file(file)
    }

    fn remove_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.disk.remove_dir(dir)
    }
}

struct FileWithoutSync {
    file: Box<dyn NewFile>,
    store: WithoutSync,
}

impl std::io::Write for FileWithoutSync {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl NewFile for FileWithoutSync {
    fn sync(self: Box<Self>) -> std::io::Result<()> {
        let FileWithoutSync { file, store } = *self;
        store.sync(|| file.sync())
    }
}
