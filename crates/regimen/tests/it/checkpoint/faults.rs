//! Every operation of a disk fails once: earlier saves stay whole, the error names a file, and the run
//! can continue.

use std::io::ErrorKind;
use std::sync::Arc;

use regimen::checkpoint::{CheckpointError, Keep, SimDisk, Which, Writer};

use super::common::*;

/// Of a full disk, one with a bad block, and one that the system has made read-only.
const KINDS: [ErrorKind; 3] = [ErrorKind::StorageFull, ErrorKind::Other, ErrorKind::ReadOnlyFilesystem];

/// Outcomes of a power cut after a failure.
const OUTCOMES: u64 = 16;

/// A run that continues after a failed save. Returns the errors.
fn scenario(disk: &SimDisk) -> Vec<CheckpointError> {
    let mut errors = Vec::new();
    let opened = (0..2).find_map(|_| {
        let opened = Writer::open_on(Arc::new(disk.clone()), DIR, RUN);
        opened.map_err(|error| errors.push(error)).ok()
    });
    let mut writer = opened.unwrap();
    errors.extend(writer.sweep().failures);
    let mut last = 0;
    for step in 1..=4 {
        let before = errors.len();
        match writer.save(&snapshot(step, step)) {
            Ok(_) => last = step,
            Err(error) => errors.push(error),
        }
        errors.extend(writer.prune(&Keep::all().last(1)).failures);
        // The disk fails once; after that, with and without a power cut, at least the acknowledged
        // saves are there.
        if before < errors.len() && 0 < last {
            let cut = (0..OUTCOMES).map(|seed| disk.after_power_cut(seed));
            for disk in cut.chain([disk.clone()]) {
                let found = checkpoints(&disk).load(Which::Latest).unwrap().unwrap();
                let step = found.checkpoint.manifest().step;
                assert!(last <= step, "step {last} was acknowledged, {step} was found");
                assert_eq!(found.content, parts(step));
            }
        }
    }
    errors.extend(writer.sweep().failures);
    errors
}

#[test]
fn a_failure_of_any_operation_of_a_save_leaves_the_older_ones_whole() {
    let whole = SimDisk::new();
    assert!(scenario(&whole).is_empty());
    for n in 0..whole.operations() {
        for kind in KINDS {
            let disk = SimDisk::new();
            disk.fail_at(n, kind);
            let errors = scenario(&disk);
            let names = names(&disk);
            // Abandoned files are removed without a report, so a failure there is no error.
            for error in &errors {
                let text = error.to_string();
                assert!(text.contains("`/runs") && text.contains(&kind.to_string()), "{n}: {text}");
            }
            assert_eq!(errors.len(), 1, "operation {n} failed with {kind}: {errors:?}");
            let newest = ["step-000000003", "step-000000004"].map(str::to_owned);
            assert!(newest.iter().any(|name| names.contains(name)), "{n}: {names:?}");
            let mut writer = writer(&disk);
            assert!(writer.sweep().failures.is_empty());
            writer.save(&snapshot(5, 5)).unwrap();
            assert!(writer.prune(&Keep::all().last(1)).failures.is_empty());
            assert_eq!(super::common::names(&disk), ["step-000000005"], "operation {n} failed with {kind}");
        }
    }
}

/// Saves and prunes, despite failures. Returns the last step that was acknowledged, 0 if none was.
fn keep_on_saving(disk: &SimDisk) -> u64 {
    let Ok(mut writer) = Writer::open_on(Arc::new(disk.clone()), DIR, RUN) else { return 0 };
    let mut acknowledged = 0;
    for step in 1..=3 {
        if writer.save(&snapshot(step, step)).is_ok() {
            acknowledged = step;
        }
        writer.prune(&Keep::all().last(1));
    }
    acknowledged
}

#[test]
fn a_power_cut_soon_after_a_failure_takes_nothing_that_was_acknowledged() {
    let whole = SimDisk::new();
    keep_on_saving(&whole);
    for n in 0..whole.operations() {
        for cut in n + 1..n + 20 {
            let disk = SimDisk::new();
            disk.fail_at(n, ErrorKind::Other);
            disk.cut_power_at(cut);
            let acknowledged = keep_on_saving(&disk);
            for seed in (0..OUTCOMES).filter(|_| 0 < acknowledged) {
                let found = checkpoints(&disk.after_power_cut(seed)).load(Which::Latest).unwrap();
                let step = found.map_or(0, |found| found.checkpoint.manifest().step);
                assert!(acknowledged <= step, "failure at {n}, cut at {cut}: {acknowledged}, {step} found");
            }
        }
    }
}

#[test]
fn a_failure_of_any_operation_of_a_load_falls_back_or_names_the_file() {
    let disk = SimDisk::new();
    let mut writer = writer(&disk);
    (1..=2).for_each(|step| drop(writer.save(&snapshot(step, step)).unwrap()));
    let load = |fail_at: Option<u64>| {
        let disk = disk.after_power_cut(0);
        fail_at.inspect(|&n| disk.fail_at(n, ErrorKind::Other));
        (checkpoints(&disk).load(Which::Latest), disk.operations())
    };
    let (_, operations) = load(None);
    for n in 0..operations {
        match load(Some(n)).0 {
            Ok(found) => {
                let found = found.unwrap();
                let (step, skipped) = (found.checkpoint.manifest().step, found.skipped.len());
                assert_eq!(found.content, parts(step), "operation {n}");
                assert!((step, skipped) == (1, 1) || (step, skipped) == (2, 1), "operation {n}: {found:?}");
            }
            Err(error) => {
                assert!(n == 0 && error.to_string().contains("list `/runs/digits`"), "{n}: {error}")
            }
        }
    }
}
