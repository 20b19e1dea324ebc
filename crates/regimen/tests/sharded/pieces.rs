//! Checkpoints to which every rank writes: their pieces, and what is left when a rank fails or dies.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use regimen::BoxError;
use regimen::callback::Every;
use regimen::checkpoint::{
    Checkpointer, Checkpoints, LoadedCheckpoint, NewFile, OpenFile, SaveStats, SimDisk, Store, StoreEntry,
};
use regimen::data::Rank;
use regimen::engine::{Engine, Part};
use regimen::peers::Peers;
use regimen::run::Train;
use regimen::saved::{AppState, Array, Parts, StateDict, Stateful, save_parts_in_shares};
use regimen_test::peers::{Collective, Punisher, Punishment, Threads, on_ranks};

use super::{DISK, PATIENCE, ROWS, STEPS, check_parts, leg, loader, on, rank_of, run_with, saved, unit};

/// A part of a run: its ranks, whether they shard, whether each writes, and the step of its pause.
#[derive(Clone, Copy, Debug)]
struct Leg(u64, bool, bool, Option<u64>);

pub(super) fn saver(store: Arc<dyn Store>, every_rank_writes: bool) -> Checkpointer {
    let saver = Checkpointer::new(DISK).every(Every::steps(3)).store(store);
    if every_rank_writes { saver.every_rank_writes() } else { saver }
}

/// The last checkpoint of a run in these parts.
fn run_in_parts(legs: &[Leg]) -> LoadedCheckpoint {
    let disk = SimDisk::new();
    for (n, &Leg(ranks, shards, every_rank_writes, stop)) in legs.iter().enumerate() {
        let ended = on(ranks, |peers| {
            let rank = rank_of(&peers);
            // Ranks that do not write need no access.
            let own = if rank == 0 || every_rank_writes { disk.clone() } else { SimDisk::new() };
            let mut unit = unit(rank, shards);
            leg(run_with(peers, &mut unit, saver(Arc::new(own), every_rank_writes)), stop)
        });
        ended.into_iter().for_each(|restored| assert_eq!(restored, Ok(n > 0), "part {n} of {legs:?}"));
        let last = saved(&disk);
        let files: Vec<&str> = last.checkpoint.manifest().parts.keys().map(String::as_str).collect();
        let pieces: Vec<String> = match ranks {
            2.. if shards && every_rank_writes => {
                (1..=ranks).map(|n| format!("optimizer@{n:05}-of-{ranks:05}")).collect()
            }
            _ => vec!["optimizer".to_owned()],
        };
        let expected: BTreeSet<&str> = pieces
            .iter()
            .map(String::as_str)
            .chain(["auto_unit", "averaged_module", "module", "run"])
            .collect();
        assert_eq!(files, expected.into_iter().collect::<Vec<_>>(), "part {n} of {legs:?}");
    }
    saved(&disk)
}

#[test]
fn any_ranks_go_on_from_pieces_with_and_without_sharding_and_the_setting() {
    let alone = run_in_parts(&[Leg(0, false, false, None)]);
    for first in 1..STEPS - 2 {
        let flag = |bit: u64| (first >> (bit % 4)) & 1 == 0;
        let legs = [
            Leg(4, true, true, Some(first)),
            Leg(2, flag(0), flag(1), Some(first + 1)),
            Leg(first % 2, flag(2), flag(3), Some(first + 2)),
            Leg(3, flag(1), true, None),
        ];
        check_parts(&run_in_parts(&legs), &alone, &format!("after {legs:?}"));
    }
}

#[test]
fn as_many_ranks_go_on_from_pieces_to_the_bit() {
    let whole = run_in_parts(&[Leg(3, true, false, None)]);
    for stop in 1..STEPS {
        for (before, after) in [(true, true), (true, false), (false, true)] {
            let found = run_in_parts(&[Leg(3, true, before, Some(stop)), Leg(3, true, after, None)]);
            assert_eq!(found.content, whole.content, "{stop}: {before}, {after}");
        }
    }
}

/// How a rank ended, and its statistics.
type Ended = (Result<(), String>, SaveStats);

/// Trains to `steps` on 3 ranks that shard, from the latest checkpoint if there is one. Returns how each
/// ended.
fn train(stores: [Arc<dyn Store>; 3], steps: u64) -> Vec<Ended> {
    let ended = on(3, |peers| {
        let rank = rank_of(&peers);
        let saver = saver(Arc::clone(&stores[rank as usize]), true);
        let stats = saver.stats();
        Ok((train_one(peers, saver, steps).map_err(|error| format!("{error:#}")), stats))
    });
    ended.into_iter().map(Result::unwrap).collect()
}

fn train_one(peers: Option<Arc<dyn Peers>>, saver: Checkpointer, steps: u64) -> Result<(), BoxError> {
    let mut unit = unit(rank_of(&peers), true);
    let mut run = run_with(peers, &mut unit, saver);
    run.restore_latest()?;
    run.train(&loader(ROWS), Train::steps(steps))?;
    Ok(())
}

fn all(disk: &SimDisk) -> [Arc<dyn Store>; 3] {
    [(); 3].map(|()| Arc::new(disk.clone()) as Arc<dyn Store>)
}

fn names(disk: &SimDisk) -> Vec<String> {
    let mut names: Vec<_> = disk.list(Path::new(DISK)).unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

#[test]
fn a_piece_is_a_safetensors_file_with_the_arrays_of_one_rank() {
    let disk = SimDisk::new();
    train(all(&disk), 3).into_iter().for_each(|(ended, _)| ended.unwrap());
    let mut found = Vec::new();
    for n in 1..=3 {
        let mut bytes = Vec::new();
        let path = format!("{DISK}/step-000000003/optimizer@{n:05}-of-00003.safetensors");
        disk.open(Path::new(&path)).unwrap().bytes.read_to_end(&mut bytes).unwrap();
        let names: Vec<_> = safetensors::SafeTensors::deserialize(&bytes)
            .unwrap()
            .names()
            .into_iter()
            .map(str::to_owned)
            .collect();
        assert!(!names.is_empty(), "{n}");
        found.extend(names);
    }
    found.sort();
    let whole = run_in_parts(&[Leg(3, true, false, Some(3))]);
    let expected: Vec<_> = whole.content["optimizer"].iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_restore_of_pieces_leaves_each_rank_with_its_share_and_is_not_saved_again() {
    let disk = SimDisk::new();
    let whole = run_in_parts(&[Leg(3, true, false, Some(4))]).content["optimizer"].len();
    train(all(&disk), 4).into_iter().for_each(|(ended, _)| ended.unwrap());
    let before = names(&disk);
    train(all(&disk), 4).into_iter().for_each(|(ended, stats)| {
        ended.unwrap();
        assert_eq!(stats.saved(), 0);
    });
    assert_eq!(names(&disk), before);
    for (shards, every_rank_writes) in [(true, true), (true, false), (false, true)] {
        let arrays = on(4, |peers| {
            let mut unit = unit(rank_of(&peers), shards);
            run_with(peers, &mut unit, saver(Arc::new(disk.clone()), every_rank_writes)).restore_latest()?;
            Ok(unit.engine().state(Part::Optimizer)?.len())
        });
        let arrays: Vec<usize> = arrays.into_iter().map(Result::unwrap).collect();
        match shards {
            true => assert_eq!(arrays.iter().sum::<usize>(), whole, "{arrays:?}"),
            false => assert_eq!(arrays, [whole; 4]),
        }
    }
}

/// A part in shares, with an array that no rank owns.
struct Shares(Rank);

impl Stateful for Shares {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert(format!("of.{}", self.0.index), self.0.index)?;
        dict.insert("of-none", 7_u64)?;
        dict.insert("ranks.share", Array::from_slice(&[self.0.index, self.0.count]))?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, _: &StateDict) -> Result<(), BoxError> {
        Ok(())
    }

    fn is_of_rank(&self, name: &str) -> bool {
        name.starts_with("of.")
    }
}

impl AppState for Shares {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("whole", &mut 1.5_f64)?;
        parts.part("shares", self)
    }
}

#[test]
fn an_array_without_an_owner_is_in_the_piece_of_rank_0() {
    let saved = on_ranks(Threads::of(2, PATIENCE), |peers| {
        save_parts_in_shares(&mut Shares(peers.rank()), &*peers).map_err(|error| error.to_string())
    });
    for (rank, saved) in (0_u64..).zip(saved) {
        let (parts, shares) = saved.unwrap().unwrap();
        assert_eq!(shares, ["shares".to_owned()].into());
        assert_eq!(parts.keys().collect::<Vec<_>>(), ["shares", "whole"]);
        let mut own = StateDict::new();
        own.insert(format!("of.{rank}"), rank).unwrap();
        if rank == 0 {
            own.insert("of-none", 7_u64).unwrap();
        }
        assert_eq!(parts["shares"], own);
    }
}

/// A store of one rank, of which one call fails.
#[derive(Debug)]
struct Failing {
    disk: SimDisk,
    calls: Arc<AtomicU64>,
    at: u64,
}

impl Failing {
    fn call(calls: &AtomicU64, at: u64) -> io::Result<()> {
        if calls.fetch_add(1, Ordering::Relaxed) == at { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn next(&self) -> io::Result<&SimDisk> {
        Failing::call(&self.calls, self.at).map(|()| &self.disk)
    }
}

impl Store for Failing {
    fn list(&self, dir: &Path) -> io::Result<Vec<StoreEntry>> {
        self.next()?.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.next()?.create_dir(dir)
    }
    fn create(&self, file: &Path) -> io::Result<Box<dyn NewFile>> {
        let file = self.next()?.create(file)?;
        Ok(Box::new(FailingFile { file, calls: Arc::clone(&self.calls), at: self.at }))
    }
    fn open(&self, file: &Path) -> io::Result<OpenFile> {
        self.next()?.open(file)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.next()?.rename(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.next()?.sync_dir(dir)
    }
    fn remove_file(&self, file: &Path) -> io::Result<()> {
        self.next()?.remove_file(file)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.next()?.remove_dir(dir)
    }
    fn is_shared(&self) -> bool {
        true
    }
}

struct FailingFile {
    file: Box<dyn NewFile>,
    calls: Arc<AtomicU64>,
    at: u64,
}

impl Write for FailingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Failing::call(&self.calls, self.at)?;
        self.file.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NewFile for FailingFile {
    fn sync(self: Box<Self>) -> io::Result<()> {
        Failing::call(&self.calls, self.at)?;
        self.file.sync()
    }
}

/// Steps of the runs that fail or die: saves in the midst after 3 and 6, and at the end after 7.
const FEW: u64 = 7;

/// Fails unless every checkpoint is whole and none is damaged, and a next run ends with the content of one that nothing
/// disturbed.
#[track_caller]
fn check_what_is_left(disk: &SimDisk, expected: &LoadedCheckpoint, what: &str) {
    let listing = Checkpoints::on(Arc::new(disk.clone()), DISK).list().unwrap();
    assert!(listing.skipped.is_empty(), "{what}: {:?}", listing.skipped);
    for checkpoint in &listing.checkpoints {
        checkpoint.verify().unwrap_or_else(|damage| panic!("{what}: {damage}"));
    }
    train(all(disk), FEW).into_iter().for_each(|(ended, _)| assert_eq!(ended, Ok(()), "{what}"));
    assert_eq!(saved(disk).content, expected.content, "{what}");
    let left = names(disk);
    assert!(left.iter().all(|name| !name.starts_with('.')), "{what}: {left:?}");
}

fn undisturbed() -> LoadedCheckpoint {
    let disk = SimDisk::new();
    train(all(&disk), FEW).into_iter().for_each(|(ended, _)| ended.unwrap());
    assert_eq!(names(&disk), ["step-000000003", "step-000000006", "step-000000007"]);
    saved(&disk)
}

/// Trains on disks of which that of `rank` fails at its call `at`.
fn fail(rank: usize, at: u64) -> (SimDisk, Vec<Ended>, u64) {
    let disk = SimDisk::new();
    let mut stores = all(&disk);
    let calls = Arc::default();
    stores[rank] = Arc::new(Failing { disk: disk.clone(), calls: Arc::clone(&calls), at });
    let ended = train(stores, FEW);
    (disk, ended, calls.load(Ordering::Relaxed))
}

#[test]
fn each_call_of_each_rank_fails_once_and_nothing_is_lost() {
    let expected = undisturbed();
    for rank in 0..3 {
        let (_, _, calls) = fail(rank, u64::MAX);
        assert!(calls > 10, "rank {rank} makes {calls} calls");
        for at in 0..calls {
            let what = format!("rank {rank} fails at its call {at}");
            let (disk, ended, _) = fail(rank, at);
            let is_ok = ended[0].0.is_ok();
            assert!(ended.iter().all(|(ended, _)| ended.is_ok() == is_ok), "{what}: {ended:?}");
            if rank > 0 {
                // All ranks have the same failure, which names the rank and the file.
                let why = ended[0].1.last_failure().unwrap();
                let step = [3, 6, 7][(at / (calls / 3)) as usize];
                let draft = format!("`{DISK}/.tmp-step-{step:09}");
                let file =
                    format!("{draft}/optimizer@{:05}-of-00003.safetensors`: no storage space", rank + 1);
                let texts =
                    ["create", "write", "sync"].map(|doing| format!("rank {rank}: cannot {doing} {file}"));
                let of_dir = format!("rank {rank}: cannot sync {draft}`: no storage space");
                assert!(texts.contains(&why) || why == of_dir, "{what}: {why}");
                assert!(ended.iter().all(|(_, stats)| stats.last_failure().as_ref() == Some(&why)), "{what}");
                assert_eq!(is_ok, step < FEW, "{what}");
            }
            check_what_is_left(&disk, &expected, &what);
        }
    }
}

/// Trains on ranks of which `victim` dies at its `n`-th such call. Returns `None` if it makes fewer.
fn kill(victim: u64, call: Collective, n: u64) -> Option<SimDisk> {
    let disk = SimDisk::new();
    let ended = on_ranks(Threads::of(3, PATIENCE), |peers| {
        let rank = peers.rank().index;
        let mut punisher = Punisher::new(peers.clone());
        if rank == victim {
            punisher = punisher.at(call, n, Punishment::Kill);
        }
        let ended = train_one(Some(Arc::new(punisher)), saver(Arc::new(disk.clone()), true), FEW);
        // The others need not wait for the dead.
        ended.inspect_err(|_| peers.abort("killed")).map_err(|error| error.to_string())
    });
    let is_struck = ended[victim as usize] != Ok(Ok(()));
    is_struck.then_some(disk)
}

#[test]
fn a_rank_dies_at_each_call_and_nothing_is_lost() {
    let expected = undisturbed();
    for victim in 0..3 {
        let mut n = 1;
        while let Some(disk) = kill(victim, Collective::Any, n) {
            check_what_is_left(&disk, &expected, &format!("rank {victim} dies at its call {n}"));
            n += 1;
        }
        assert!(n > 100, "rank {victim} makes {n} calls");
    }
}

#[test]
fn there_is_no_checkpoint_before_all_ranks_have_committed() {
    // The first commit is of the update at step 2, the second of the save at step 3.
    let disk = kill(2, Collective::Commit, 2).unwrap();
    assert_eq!(names(&disk), ["post-mortem-000000003"]);
    let disk = kill(2, Collective::Commit, 3).unwrap();
    assert_eq!(names(&disk)[1..], ["step-000000003"]);
}

#[test]
fn damage_to_any_piece_is_refused() {
    let disk = SimDisk::new();
    train(all(&disk), 6).into_iter().for_each(|(ended, _)| ended.unwrap());
    let newest = Path::new(DISK).join("step-000000006");
    for file in disk.list(&newest).unwrap().into_iter().filter(|file| file.name.contains('@')) {
        let path = newest.join(&file.name);
        let mut bytes = Vec::new();
        disk.open(&path).unwrap().bytes.read_to_end(&mut bytes).unwrap();
        let length = bytes.len();
        for at in (0..length).step_by(7) {
            bytes[at] ^= 1 << (at % 8);
            disk.remove_file(&path).unwrap();
            disk.create(&path).unwrap().write_all(&bytes).unwrap();
            bytes[at] ^= 1 << (at % 8);
            let found = saved(&disk);
            assert_eq!(found.checkpoint.manifest().step, 3, "byte {at} of {}", file.name);
            assert_eq!(found.skipped.len(), 1);
            if at % 70 == 0 {
                let restored = on(2, |peers| {
                    let mut unit = unit(rank_of(&peers), true);
                    let restored =
                        run_with(peers, &mut unit, saver(Arc::new(disk.clone()), true)).restore_latest()?;
                    Ok(restored.map(|restored| (restored.step, restored.skipped.len())))
                });
                assert_eq!(restored, [Ok(Some((3, 1))), Ok(Some((3, 1)))], "byte {at} of {}", file.name);
            }
        }
        disk.remove_file(&path).unwrap();
        assert_eq!(saved(&disk).checkpoint.manifest().step, 3, "without {}", file.name);
        disk.create(&path).unwrap().write_all(&bytes).unwrap();
        assert_eq!(saved(&disk).checkpoint.manifest().step, 6);
    }
}

#[test]
fn ranks_that_do_not_see_one_directory_save_nothing() {
    let check = |stores: [SimDisk; 3], expected: &str| {
        let first = stores[0].clone();
        let stores = stores.map(|disk| Arc::new(disk) as Arc<dyn Store>);
        for (ended, stats) in train(stores, 2) {
            assert!(ended.unwrap_err().contains(expected), "{expected}");
            assert_eq!(stats.last_failure().as_deref(), Some(expected));
        }
        assert_eq!(names(&first), Vec::<String>::new());
    };
    let shared = SimDisk::new();
    check(
        [shared.clone(), shared.clone(), SimDisk::new()],
        "rank 2: cannot create `/run/.tmp-step-000000002/optimizer@00003-of-00003.safetensors`: entity not found",
    );
    // A directory of the same name, of a writer that died.
    let other = SimDisk::new();
    other.create_dir(Path::new(DISK)).unwrap();
    other.create_dir(&Path::new(DISK).join(".tmp-step-000000002")).unwrap();
    check(
        [shared.clone(), shared, other],
        "rank 0: cannot find `/run/.tmp-step-000000002/optimizer@00003-of-00003.safetensors`: rank 2 has written it: \
         entity not found; all ranks must see one directory",
    );
}

/// A store whose drafts only one process sees.
#[derive(Debug)]
struct Alone;

impl Store for Alone {
    fn list(&self, _: &Path) -> io::Result<Vec<StoreEntry>> {
        Ok(Vec::new())
    }
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn create(&self, _: &Path) -> io::Result<Box<dyn NewFile>> {
        Err(ErrorKind::Unsupported.into())
    }
    fn open(&self, _: &Path) -> io::Result<OpenFile> {
        Err(ErrorKind::NotFound.into())
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn remove_file(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_store_that_is_not_shared_is_an_error() {
    for (ended, _) in train([(); 3].map(|()| Arc::new(Alone) as Arc<dyn Store>), 2) {
        let text = "`Checkpointer::every_rank_writes` needs a store in which each rank sees the files that the others \
                    write, such as a directory of a shared file system; this store has no such files";
        assert!(ended.clone().unwrap_err().contains(text), "{ended:?}");
    }
}
