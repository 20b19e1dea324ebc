//! Checkpoints behind symbolic links: read or named, and never removed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use regimen::checkpoint::{Checkpoint, Checkpoints, Keep, Listing, Which, Writer};

use super::common::*;

/// A run directory with checkpoints of steps 1 to `steps`, and a folder elsewhere.
fn folders(steps: u64) -> (tempfile::TempDir, tempfile::TempDir, Writer) {
    let (dir, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut writer = Writer::open(dir.path(), RUN).unwrap();
    (1..=steps).for_each(|step| drop(writer.save(&snapshot(step, step)).unwrap()));
    (dir, far, writer)
}

fn path(dir: &Path, step: u64) -> PathBuf {
    dir.join(format!("step-{step:09}"))
}

/// Moves the checkpoint of `step` to `far`, and leaves a link.
fn move_away(dir: &Path, step: u64, far: &Path) -> PathBuf {
    let there = far.join(format!("moved-{step}"));
    fs::rename(path(dir, step), &there).unwrap();
    symlink(&there, path(dir, step)).unwrap();
    there
}

/// The steps of a listing, the newest first, and the number skipped.
fn steps(listing: &Listing) -> (Vec<u64>, usize) {
    let steps = listing.checkpoints.iter().map(|checkpoint| checkpoint.manifest().step);
    (steps.collect(), listing.skipped.len())
}

#[test]
fn a_checkpoint_that_is_a_link_is_listed_and_restored() {
    let (dir, far, _writer) = folders(2);
    move_away(dir.path(), 2, far.path());
    let checkpoints = Checkpoints::in_dir(dir.path());
    assert_eq!(steps(&checkpoints.list().unwrap()), (vec![2, 1], 0));
    assert_eq!(checkpoints.load(Which::Latest).unwrap().unwrap().content, parts(2));
    // So is one in a run directory that is a link.
    let link = far.path().join("run");
    symlink(dir.path(), &link).unwrap();
    assert_eq!(Checkpoints::in_dir(&link).load(Which::Latest).unwrap().unwrap().content, parts(2));
}

#[test]
fn what_has_the_name_of_a_checkpoint_and_cannot_be_opened_is_named() {
    let (dir, far, _writer) = folders(1);
    let there = move_away(dir.path(), 1, far.path());
    fs::remove_dir_all(there).unwrap();
    fs::write(path(dir.path(), 2), "not a directory").unwrap();
    let checkpoints = Checkpoints::in_dir(dir.path());
    assert_eq!(steps(&checkpoints.list().unwrap()), (vec![], 2));
    let error = checkpoints.load(Which::Latest).unwrap_err().to_string();
    for step in [1, 2] {
        assert!(error.contains(&path(dir.path(), step).join("MANIFEST").display().to_string()), "{error}");
    }
}

#[test]
fn a_link_counts_among_those_to_keep_and_neither_it_nor_what_it_leads_to_is_removed() {
    for reopened in [false, true] {
        let (dir, far, mut writer) = folders(4);
        let there = move_away(dir.path(), 1, far.path());
        move_away(dir.path(), 3, far.path());
        if reopened {
            drop(writer);
            writer = Writer::open(dir.path(), RUN).unwrap();
        }
        writer.save(&snapshot(5, 5)).unwrap();
        let removed = writer.prune(&Keep::all().last(3));
        assert_eq!(removed.removed, [path(dir.path(), 2)]);
        assert!(removed.failures.is_empty(), "{:?}", removed.failures);
        let listing = Checkpoints::in_dir(dir.path()).list().unwrap();
        assert_eq!(steps(&listing), (vec![5, 4, 3, 1], 0));
        Checkpoint::open(there).unwrap().verify().unwrap();
        // It is not removed, and no failure either.
        let again = writer.prune(&Keep::all().last(1));
        assert_eq!((again.removed, again.failures.len()), (vec![path(dir.path(), 4)], 0));
        let kept = fs::read_dir(far.path()).unwrap().count();
        assert_eq!(kept, 2);
    }
}

#[test]
fn a_part_that_is_a_link_is_removed_and_what_it_leads_to_is_not() {
    let (dir, far, mut writer) = folders(2);
    let part = path(dir.path(), 1).join("module.safetensors");
    let there = far.path().join("module.safetensors");
    fs::rename(&part, &there).unwrap();
    symlink(&there, &part).unwrap();
    assert_eq!(writer.prune(&Keep::all().last(1)).removed, [path(dir.path(), 1)]);
    assert!(there.is_file() && !path(dir.path(), 1).exists());
}

#[test]
fn a_leftover_that_is_a_link_is_not_followed() {
    let (dir, far, writer) = folders(1);
    let there = far.path().join("of-somebody.safetensors");
    fs::write(&there, "weights").unwrap();
    for name in [".tmp-step-000000009", ".del-step-000000009"] {
        symlink(far.path(), dir.path().join(name)).unwrap();
    }
    let removed = writer.sweep();
    assert_eq!((removed.removed.len(), removed.failures.len()), (0, 0));
    assert_eq!(fs::read_to_string(there).unwrap(), "weights");
}
