//! The selection of a checkpoint: the newest, the best or that of a step.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use regimen::checkpoint::{Checkpoint, Checkpoints, Goal, Keep, SimDisk, Snapshot, Store, Which, Writer};
use regimen::saved::{Dtype, StateDict};

use super::common::*;

/// Saves `saves`: the step, whether after an error, and the loss, if measured.
fn disk(saves: &[(u64, bool, Option<f64>)]) -> SimDisk {
    let disk = SimDisk::new();
    let mut writer = writer(&disk);
    for (i, &(step, post_mortem, loss)) in saves.iter().enumerate() {
        let metrics = loss.map(|loss| ("eval/loss".to_owned(), loss)).into_iter().collect();
        let snapshot = Snapshot { post_mortem, metrics, ..snapshot(step, i as u64 + 1) };
        writer.save(&snapshot).unwrap();
    }
    disk
}

/// Checks the number of the save that is found, 0 for `None`; the best is that of the least loss.
fn check(disk: &SimDisk, which: Which<'_>, save: u64) {
    check_by(disk, ("eval/loss", Goal::Min), which, save);
}

fn check_by(disk: &SimDisk, (metric, goal): (&str, Goal), which: Which<'_>, save: u64) {
    let found = checkpoints(disk).best_by(metric, goal).load(which).unwrap();
    let found_save = found.as_ref().map_or(0, |found| found.checkpoint.manifest().save);
    assert_eq!(found_save, save, "{which:?}");
    assert!(found.is_none_or(|found| found.content == parts(save) && found.skipped.is_empty()));
}

#[test]
fn newest_is_the_one_saved_last_even_after_going_back_to_an_earlier_step() {
    let disk = disk(&[(10, false, None), (20, false, None), (5, false, None)]);
    check(&disk, Which::Latest, 3);
    check(&disk, Which::Step(20), 2);
    check(&disk, Which::Step(15), 0);
    check(&disk, Which::Best, 0);
}

#[test]
fn a_step_saved_again_is_found_as_it_was_saved_last() {
    let disk = disk(&[(10, false, Some(1.0)), (10, false, Some(2.0))]);
    assert_eq!(names(&disk), ["step-000000010", "step-000000010-2"]);
    check(&disk, Which::Step(10), 2);
    let mut writer = writer(&disk);
    writer.save(&snapshot(10, 3)).unwrap();
    writer.prune(&Keep::all());
    assert_eq!(names(&disk), ["step-000000010-3"]);
    check(&disk, Which::Latest, 3);
}

#[test]
fn a_post_mortem_is_listed_but_never_restored() {
    let disk = disk(&[(10, false, Some(1.0)), (12, true, Some(0.0))]);
    assert_eq!(names(&disk), ["post-mortem-000000012", "step-000000010"]);
    assert_eq!(checkpoints(&disk).list().unwrap().checkpoints.len(), 2);
    check(&disk, Which::Latest, 1);
    check(&disk, Which::Step(12), 0);
    check(&disk, Which::Best, 1);
    let opened = Checkpoint::open_on(Arc::new(disk.clone()), format!("{DIR}/post-mortem-000000012")).unwrap();
    assert_eq!(opened.read_all().unwrap(), parts(2));
}

#[test]
fn best_takes_zero_for_a_value_and_no_nan_and_the_first_of_equals() {
    let loss = [Some(f64::NAN), Some(0.5), None, Some(0.0), Some(-0.0), Some(f64::NEG_INFINITY)];
    let saves: Vec<_> = loss.iter().zip(1..).map(|(&loss, step)| (step, false, loss)).collect();
    check(&disk(&saves), Which::Best, 4);
    check_by(&disk(&saves), ("eval/loss", Goal::Max), Which::Best, 2);
    check_by(&disk(&saves), ("eval/accuracy", Goal::Max), Which::Best, 0);
    check(&disk(&saves[..1]), Which::Best, 0);
}

#[test]
fn a_directory_that_is_not_there_holds_nothing() {
    assert!(Checkpoints::on(Arc::new(SimDisk::new()), "/nowhere").load(Which::Latest).unwrap().is_none());
    assert!(Checkpoints::in_dir("/nowhere/at/all").load(Which::Latest).unwrap().is_none());
}

#[test]
fn what_is_not_a_checkpoint_is_not_looked_at() {
    let disk = disk(&[(10, false, None)]);
    for name in ["step-7", ".tmp-step-000000020", ".del-step-000000030", "best", "step-000000020.bak"] {
        disk.create_dir(&Path::new(DIR).join(name)).unwrap();
    }
    put(&disk, &Path::new(DIR).join("notes"), b"a file");
    check(&disk, Which::Latest, 1);
}

#[test]
fn checkpoints_of_another_run_are_skipped_where_a_run_is_named() {
    let disk = disk(&[(10, false, None)]);
    let mut other = Writer::open_on(Arc::new(disk.clone()), DIR, "run-2").unwrap();
    other.save(&snapshot(20, 2)).unwrap();
    check(&disk, Which::Latest, 2);
    let found = checkpoints(&disk).of_run(RUN).load(Which::Latest).unwrap().unwrap();
    assert_eq!(found.checkpoint.manifest().save, 1);
    assert!(found.skipped[0].to_string().ends_with("it belongs to the run run-2"));
}

#[test]
fn a_copy_under_another_name_can_be_opened_by_its_path() {
    let disk = disk(&[(10, false, None)]);
    disk.rename(&Path::new(DIR).join("step-000000010"), Path::new("/shipped")).unwrap();
    let copy = Checkpoint::open_on(Arc::new(disk), "/shipped").unwrap();
    assert_eq!(copy.manifest().step, 10);
    assert_eq!(copy.read("module").unwrap(), parts(1)["module"]);
}

#[test]
fn one_part_is_read_without_the_others() {
    let disk = disk(&[(10, false, None)]);
    let checkpoint = checkpoints(&disk).load_with(Which::Latest, |c| Ok(c.clone())).unwrap().unwrap().content;
    put(&disk, &checkpoint.path().join("run.safetensors"), b"damaged");
    assert_eq!(checkpoint.read("module").unwrap(), parts(1)["module"]);
    assert!(checkpoint.verify().unwrap_err().path().ends_with("run.safetensors"));
    assert!(checkpoint.read("modul").unwrap_err().to_string().ends_with("it has no part `modul`"));
    let header = checkpoint.read_header("module").unwrap();
    let header: Vec<_> =
        header.into_iter().map(|(name, layout)| (name, layout.dtype, layout.shape)).collect();
    assert_eq!(header, [("bias".into(), Dtype::F64, vec![3]), ("weight".into(), Dtype::F32, vec![2, 3])]);
}

/// Checks that a part of this name is refused, and leaves nothing behind.
fn check_refused(part: &str, message: &str) {
    let disk = SimDisk::new();
    let mut snapshot = Snapshot { step: 1, ..Snapshot::default() };
    snapshot.parts = BTreeMap::from([(part.to_owned(), StateDict::new())]);
    let error = writer(&disk).save(&snapshot).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
    assert!(names(&disk).is_empty(), "{:?}", names(&disk));
}

#[test]
fn names_that_cannot_be_written_are_refused() {
    check_refused("", "the part \"\" cannot be the name of a file");
    check_refused("..", "cannot be the name of a file");
    check_refused("a/b", "cannot be the name of a file");
    let run = Writer::open_on(Arc::new(SimDisk::new()), DIR, "a run").unwrap_err().to_string();
    assert!(run.contains("\"a run\" cannot identify a run"), "{run}");
}

#[test]
fn a_snapshot_without_parts_and_parts_without_arrays_can_be_saved() {
    let disk = SimDisk::new();
    let mut writer = writer(&disk);
    writer.save(&Snapshot::default()).unwrap();
    let found = checkpoints(&disk).load(Which::Step(0)).unwrap().unwrap();
    assert!(found.content.is_empty());
    let empty = BTreeMap::from([("nothing".to_owned(), StateDict::new())]);
    writer.save(&Snapshot { parts: empty.clone(), ..Snapshot::default() }).unwrap();
    assert_eq!(checkpoints(&disk).load(Which::Latest).unwrap().unwrap().content, empty);
}
