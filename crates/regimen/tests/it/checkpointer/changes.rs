//! Restarts with changes: the notices, and the parts that can be left out.

use regimen::Run;
use regimen::checkpoint::{Checkpointer, SimDisk};
use regimen::run::{Restored, Train};
use regimen::saved::save_parts;

use super::common::*;

/// Trains 4 steps, and then 4 more in a run that `configure` sets up otherwise. Returns the restored
/// checkpoint, the notices of the second report, and its unit.
fn restart(
    before: Checkpointer,
    after: Checkpointer,
    seed: u64,
    batches: usize,
) -> (Restored, Vec<String>, Walk) {
    let mut unit = Walk::new();
    Run::new(&mut unit).seed(1).saver(before).train(&[1; 8], Train::steps(4)).unwrap();
    let mut unit = Walk::new();
    let mut run = Run::new(&mut unit).seed(seed).saver(after);
    let restored = run.restore_latest().unwrap().unwrap();
    let notices = run.train(&vec![1; batches], Train::steps(8)).unwrap().notices;
    drop(run);
    (restored, notices, unit)
}

#[test]
fn what_a_restart_changes_is_told_and_the_report_names_it() {
    let disk = SimDisk::new();
    let (restored, notices, _) = restart(saver(&disk), saver(&disk), 1, 8);
    assert_eq!((restored.differences, notices), (vec![], vec![]));

    let disk = SimDisk::new();
    let (restored, notices, _) = restart(saver(&disk), saver(&disk), 2, 9);
    assert_eq!(restored.differences, [""; 0]);
    let seed = "the run goes on with the seed 1, as saved, not with 2";
    let batches = "an epoch of the train data has 9 batches now, and had 8 before";
    assert_eq!(notices, [seed, batches]);
}

#[test]
fn a_part_that_is_left_out_stays_as_it_is_and_the_others_are_restored() {
    let disk = SimDisk::new();
    let (restored, notices, unit) = restart(saver(&disk), saver(&disk).restore_without("momentum"), 1, 8);
    let told = ["part `momentum` is left out, and stays as it is"];
    assert_eq!(
        (&*restored.differences, &*notices),
        (&told.map(str::to_owned)[..], &told.map(str::to_owned)[..])
    );
    assert_eq!(restored.step, 4);

    // The same by hand: the weights of the first four steps, and no momentum.
    let mut expected = Walk::new();
    let mut run = Run::new(&mut expected).seed(1);
    run.train(&[1; 8], Train::steps(4)).unwrap();
    run.unit_mut().momentum = vec![0.0; 3];
    run.train(&[1; 8], Train::steps(8)).unwrap();
    drop(run);
    let mut unit = unit;
    assert_eq!(save_parts(&mut unit).unwrap(), save_parts(&mut expected).unwrap());
}

#[test]
fn a_part_that_there_is_not_cannot_be_left_out() {
    let disk = SimDisk::new();
    let mut unit = Walk::new();
    Run::new(&mut unit).saver(saver(&disk)).train(&[1; 8], Train::steps(4)).unwrap();
    let mut run = Run::new(&mut unit).saver(saver(&disk).restore_without("optimiser"));
    let error = run.restore_latest().map_err(|error| format!("{error:#}")).unwrap_err();
    let text = "part `optimiser` cannot be left out: no part has that name";
    assert!(error.ends_with(text), "{error}");
}
