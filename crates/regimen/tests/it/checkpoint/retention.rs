//! Retention against a model, over random sequences of save, prune, crash and resume; and against the
//! faults of TorchTNT's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use regimen::checkpoint::{Goal, Keep, Manifest, SimDisk, Snapshot, Store, Which, Writer};
use regimen::saved::StateDict;

use super::common::*;

const SEQUENCES: u64 = 100_000;
const LOSS: &str = "eval/loss";
const SCORE: &str = "eval/score";

/// The rules of the model. `None` is a rule that was not given.
#[derive(Clone, Copy, Debug)]
struct Rules {
    last: Option<usize>,
    lowest_loss: Option<usize>,
    highest_score: Option<usize>,
    every: Option<u64>,
}

impl Rules {
    fn random(random: &mut Random) -> Self {
        let mut maybe = |n| (random.below(2) == 0).then(|| random.below(n));
        let count = |n: Option<u64>| n.map(|n| n as usize);
        Rules {
            last: count(maybe(4)),
            lowest_loss: count(maybe(3)),
            highest_score: count(maybe(3)),
            every: maybe(4),
        }
    }

    fn keep(self) -> Keep {
        let mut keep = Keep::all();
        keep = self.last.map_or(keep.clone(), |n| keep.last(n));
        keep = self.lowest_loss.map_or(keep.clone(), |n| keep.best(n, LOSS, Goal::Min));
        keep = self.highest_score.map_or(keep.clone(), |n| keep.best(n, SCORE, Goal::Max));
        self.every.map_or(keep.clone(), |n| keep.every_steps(n))
    }

    /// Whether `one` of `all` is kept, by the words of the documentation.
    fn keeps(self, one: &Manifest, all: &[Manifest]) -> bool {
        let same_kind = |other: &&Manifest| other.resumable == one.resumable;
        let newer = |other: &&Manifest| one.save < other.save;
        // If a step was saved again, the earlier save is removed.
        let current = |one: &Manifest| {
            let mut again = all.iter().filter(|o| o.step == one.step && o.resumable == one.resumable);
            !again.any(|other| one.save < other.save)
        };
        if !current(one) {
            return false;
        }
        let Rules { last, lowest_loss, highest_score, every } = self;
        if (last, lowest_loss, highest_score, every) == (None, None, None, None) {
            return true;
        }
        let rivals: Vec<_> = all.iter().filter(same_kind).filter(|other| current(other)).collect();
        let newer = rivals.iter().copied().filter(newer).count();
        if newer == 0 || !one.resumable {
            return newer == 0;
        }
        // One is among the n best if fewer than n others are better, or as good and earlier.
        let among_best = |count: Option<usize>, metric: &str, sign: f64| {
            let value = |m: &Manifest| m.metrics.get(metric).filter(|v| v.is_finite()).map(|v| sign * v);
            let Some(mine) = value(one) else { return false };
            let better = |m: &&&Manifest| match value(m) {
                Some(other) => other < mine || (other == mine && m.save < one.save),
                None => false,
            };
            rivals.iter().filter(better).count() < count.unwrap_or(0)
        };
        newer < last.unwrap_or(0)
            || among_best(lowest_loss, LOSS, 1.0)
            || among_best(highest_score, SCORE, -1.0)
            || every.is_some_and(|every| every != 0 && one.step.is_multiple_of(every))
    }
}

/// The metrics of a save: often equal, sometimes zero, not finite or missing.
fn random_metrics(random: &mut Random) -> BTreeMap<String, f64> {
    let values = [0.0, -0.0, 1.0, 2.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    let mut metrics = BTreeMap::new();
    for name in [LOSS, SCORE] {
        if let Some(&value) = values.get(random.below(values.len() as u64 + 2) as usize) {
            metrics.insert(name.to_owned(), value);
        }
    }
    metrics
}

fn on_disk(disk: &SimDisk) -> Vec<Manifest> {
    let listing = checkpoints(disk).list().unwrap();
    assert!(listing.skipped.is_empty(), "{:?}", listing.skipped);
    listing.checkpoints.iter().map(|checkpoint| checkpoint.manifest().clone()).collect()
}

fn saves(manifests: &[Manifest]) -> BTreeSet<u64> {
    manifests.iter().map(|manifest| manifest.save).collect()
}

/// One random sequence in a run directory.
fn check_sequence(seed: u64) {
    let mut random = Random(seed);
    let rules = Rules::random(&mut random);
    let (mut disk, mut step) = (SimDisk::new(), 0);
    let mut writer = Some(super::common::writer(&disk));
    // Whether the writer's last save was acknowledged: before that it removes nothing.
    let mut prunes = false;
    let mut acknowledged = BTreeSet::new();
    for _ in 0..random.below(12) {
        let action = random.below(8);
        let cut = random.below(40);
        let before = on_disk(&disk);
        let current = writer.get_or_insert_with(|| super::common::writer(&disk));
        if action == 7 {
            disk.cut_power_at(disk.operations() + cut);
        }
        if action != 6 {
            // Mostly on, sometimes the same step again, sometimes back.
            step = [step, step + 1, step + 1, step + 2, step / 2][random.below(5) as usize];
            let post_mortem = random.below(6) == 0;
            let metrics = random_metrics(&mut random);
            let parts = BTreeMap::from([("run".to_owned(), StateDict::new())]);
            let snapshot = Snapshot { step, epoch: 0, post_mortem, metrics, parts };
            let saved = current.save(&snapshot);
            prunes = saved.is_ok();
            if let Ok(saved) = saved {
                acknowledged.insert((saved.manifest().save, saved.manifest().resumable));
            }
        }
        if action < 5 {
            let before = on_disk(&disk);
            let removed = current.prune(&rules.keep());
            assert!(removed.failures.is_empty(), "{:?}", removed.failures);
            let kept: Vec<_> =
                before.iter().filter(|one| !prunes || rules.keeps(one, &before)).cloned().collect();
            assert_eq!(saves(&on_disk(&disk)), saves(&kept), "seed {seed}: {rules:?} of {before:#?}");
        }
        if action == 7 {
            current.prune(&rules.keep());
            disk = disk.after_power_cut(random.next());
            (writer, prunes) = (None, false);
            let (after, survivors) = (on_disk(&disk), saves(&on_disk(&disk)));
            for lost in before.iter().filter(|one| !survivors.contains(&one.save)) {
                let mut all = before.clone();
                all.extend(after.iter().filter(|one| !saves(&before).contains(&one.save)).cloned());
                assert!(!rules.keeps(lost, &all), "seed {seed}: save {} was lost", lost.save);
            }
        }
        let newest = acknowledged.iter().filter(|(_, resumable)| *resumable).map(|(save, _)| *save).max();
        if let Some(newest) = newest.filter(|_| action != 7 || writer.is_none()) {
            let found = checkpoints(&disk).load_with(Which::Latest, |c| c.verify()).unwrap().unwrap();
            assert!(newest <= found.checkpoint.manifest().save, "seed {seed}");
        }
    }
}

#[test]
fn what_is_kept_is_what_the_model_keeps() {
    let sequences = cases("REGIMEN_SEQUENCES", SEQUENCES);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || (thread..sequences).step_by(threads as usize).for_each(check_sequence));
        }
    });
}

/// Checks which steps are left of a run that saves a step for each loss and prunes every time.
fn check_left(keep: &Keep, losses: &[Option<f64>], left: &[u64]) {
    let disk = SimDisk::new();
    let mut writer = writer(&disk);
    for (step, loss) in (1..).zip(losses) {
        let metrics = loss.map(|loss| (LOSS.to_owned(), loss)).into_iter().collect();
        writer.save(&Snapshot { metrics, ..snapshot(step, step) }).unwrap();
        writer.prune(keep);
    }
    let mut steps: Vec<_> = on_disk(&disk).iter().map(|manifest| manifest.step).collect();
    steps.sort_unstable();
    assert_eq!(steps, left, "{keep:?}");
}

#[test]
fn rules_add_up_and_the_newest_always_stays() {
    let losses = [3.0, 1.0, 2.0, 5.0, 0.5, 4.0].map(Some);
    let min = |count| Keep::all().best(count, LOSS, Goal::Min);
    check_left(&Keep::all(), &losses, &[1, 2, 3, 4, 5, 6]);
    check_left(&Keep::all().last(2), &losses, &[5, 6]);
    check_left(&Keep::all().last(0), &losses, &[6]);
    check_left(&min(2), &losses, &[2, 5, 6]);
    check_left(&Keep::all().best(1, LOSS, Goal::Max), &losses, &[4, 6]);
    check_left(&Keep::all().every_steps(2), &losses, &[2, 4, 6]);
    check_left(&Keep::all().every_steps(0), &losses, &[6]);
    check_left(&min(1).last(2).every_steps(3), &losses, &[3, 5, 6]);
}

#[test]
fn a_loss_of_zero_is_the_best_and_of_equal_ones_the_first() {
    let best = Keep::all().best(1, LOSS, Goal::Min);
    check_left(&best, &[Some(1.0), Some(0.0), Some(0.5)], &[2, 3]);
    check_left(&best, &[Some(1.0), Some(1.0), Some(1.0)], &[1, 3]);
    check_left(&Keep::all().best(1, LOSS, Goal::Max), &[Some(1.0), Some(1.0), Some(1.0)], &[1, 3]);
}

#[test]
fn what_was_not_measured_or_is_not_a_number_is_never_the_best_and_does_not_pile_up() {
    let best = Keep::all().best(1, LOSS, Goal::Min);
    check_left(&best, &[None, None, None], &[3]);
    check_left(&best, &[Some(f64::NAN), Some(2.0), None, Some(f64::NAN), None], &[2, 5]);
    check_left(&best, &[Some(f64::NEG_INFINITY), Some(2.0), None], &[2, 3]);
}

#[test]
fn what_this_run_did_not_write_is_never_removed() {
    let disk = SimDisk::new();
    let path = |name: &str| Path::new(DIR).join(name);
    Writer::open_on(Arc::new(disk.clone()), DIR, "run-0").unwrap().save(&snapshot(1, 1)).unwrap();
    let mut writer = writer(&disk);
    writer.save(&snapshot(2, 2)).unwrap();
    writer.save(&snapshot(3, 3)).unwrap();
    disk.create_dir(&path("step-000000000")).unwrap();
    disk.create_dir(&path(".tmp-notes")).unwrap();
    disk.create_dir(&path(".tmp-step-000000009")).unwrap();
    put(&disk, &path(".tmp-step-000000009/notes"), b"mine");
    put(&disk, &path("step-000000002/notes"), b"mine");
    writer.save(&snapshot(4, 4)).unwrap();
    let removed = writer.prune(&Keep::all().last(1));
    assert_eq!(removed.removed, [path("step-000000003")]);
    let reason = removed.failures.first().unwrap().to_string();
    assert_eq!(reason, "cannot remove `/runs/digits/step-000000002/notes`: it is not of the checkpoint");
    assert_eq!(writer.sweep().failures.len(), 1);
    let left = [".tmp-notes", ".tmp-step-000000009", "step-000000000", "step-000000001", "step-000000002"];
    assert!(names(&disk).iter().eq(left.iter().chain(&["step-000000004"])), "{:?}", names(&disk));
}
