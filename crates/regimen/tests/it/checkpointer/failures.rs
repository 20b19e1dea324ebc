//! A disk that fails: training continues or stops, as configured, and earlier saves stay.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use regimen::callback::{Event, Every};
use regimen::checkpoint::{Checkpointer, Checkpoints, SimDisk, Which};
use regimen::run::Train;
use regimen::{Error, Run, State, error};

use super::common::*;

/// The outcome of a run on a disk that fails once.
struct Came {
    result: Result<(), Error>,
    steps: u64,
    acknowledged: Vec<String>,
    notices: Vec<String>,
    failures: u64,
}

/// Trains 5 steps on `disk` with a save after each.
fn train(disk: &SimDisk, saver: impl FnOnce(Checkpointer) -> Checkpointer) -> Came {
    let acknowledged = Acknowledged::default();
    let saver = saver(super::common::saver(disk).every(Every::steps(1)).keep_last(2));
    let saver = acknowledged.by(|checkpoint| checkpoint.manifest().step.to_string(), saver);
    let (stats, notices) = (saver.stats(), Arc::new(Mutex::new(Vec::new())));
    let told = notices.clone();
    let mut unit = Walk::new();
    let mut run =
        Run::new(&mut unit).saver(saver).on(Event::Notice, move |state: &mut State, _: &mut Walk| {
            told.lock().unwrap().extend_from_slice(state.notices());
        });
    let result = run.train(&[1; 5], Train::steps(5)).map(drop);
    let steps = run.state().train_progress().steps;
    // Notices after the last step are sent when the next call begins.
    let _ = run.train(&[1; 5], Train::steps(steps));
    drop(run);
    let notices = notices.lock().unwrap().clone();
    Came { result, steps, acknowledged: acknowledged.list(), notices, failures: stats.failures() }
}

/// The step of the newest whole checkpoint on `disk`.
fn newest_step(disk: &SimDisk) -> Option<u64> {
    let found = Checkpoints::on(Arc::new(disk.clone()), DIR).load(Which::Latest).unwrap();
    found.map(|found| found.checkpoint.manifest().step)
}

#[test]
fn training_goes_on_when_a_save_fails_and_says_so() {
    let disk = SimDisk::new();
    let smooth = train(&disk, Checkpointer::in_foreground);
    assert_eq!((smooth.acknowledged.join(" "), smooth.failures), ("1 2 3 4 5".to_owned(), 0));
    let mut told = 0;
    for n in 0..disk.operations() {
        for background in [false, true] {
            let disk = SimDisk::new();
            disk.fail_at(n, ErrorKind::StorageFull);
            let came = train(&disk, |saver| if background { saver } else { saver.in_foreground() });
            let last = came.acknowledged.last().map_or(0, |step| step.parse().unwrap());
            assert!(last <= newest_step(&disk).unwrap_or(0), "operation {n}: lost {last}");
            match came.result {
                Ok(()) => {
                    assert_eq!((came.steps, last), (5, 5), "operation {n}");
                    let lost = 5 - came.acknowledged.len();
                    // A save that failed after the last step was made up for at the end.
                    let notices = came.notices.len();
                    assert!(notices == lost || notices == lost + 1, "operation {n}: {:?}", came.notices);
                    assert!(came.notices.iter().all(|told| told.starts_with("a checkpoint was not saved: ")));
                    assert!(lost as u64 <= came.failures);
                    told += lost;
                }
                Err(error) => {
                    // The run directory could not be opened.
                    assert_eq!(
                        (error.kind(), came.steps),
                        (&error::ErrorKind::State, 0),
                        "operation {n}: {error:#}"
                    );
                }
            }
        }
    }
    assert!(0 < told);
}

#[test]
fn a_failure_is_an_error_where_asked_and_the_run_can_go_on_from_there() {
    let (disk, mut unit) = (SimDisk::new(), Walk::new());
    let saver = saver(&disk).every(Every::steps(2)).stop_on_failure().in_foreground();
    let fail = disk.clone();
    let mut run =
        Run::new(&mut unit).saver(saver).on(Event::TrainStepEnd, move |state: &mut State, _: &mut Walk| {
            if state.train_progress().steps == 4 {
                fail.fail_at(fail.operations(), ErrorKind::PermissionDenied);
            }
        });
    let error = format!("{:#}", run.train(&[1; 5], Train::epochs(2)).unwrap_err());
    assert!(
        error.starts_with("state failed in train at epoch 0 step 4: a checkpoint was not saved: cannot "),
        "{error}"
    );
    assert_eq!((run.state().train_progress().steps, on_disk(&disk)), (4, "2".to_owned()));
    run.train(&[1; 5], Train::epochs(2)).unwrap();
    drop(run);
    assert_eq!(on_disk(&disk), "10 8 6 2");
}

#[test]
fn the_save_at_the_end_of_a_call_is_an_error_where_it_fails_and_can_be_made_up_for() {
    let train = |disk: &SimDisk, fail_at: Option<u64>| {
        let mut unit = Walk::new();
        let mut run = Run::new(&mut unit).saver(saver(disk));
        run.train(&[1; 5], Train::steps(0)).unwrap();
        let ready = disk.operations();
        if let Some(n) = fail_at {
            disk.fail_at(ready + n, ErrorKind::StorageFull);
        }
        let result = run.train(&[1; 5], Train::steps(3));
        let operations = disk.operations() - ready;
        run.train(&[1; 5], Train::steps(3)).unwrap();
        (result.map(drop), operations)
    };
    let (result, operations) = train(&SimDisk::new(), None);
    result.unwrap();
    for n in 0..operations {
        let disk = SimDisk::new();
        let (result, _) = train(&disk, Some(n));
        let error = result.map_err(|error| format!("{error:#}")).unwrap_err();
        assert!(error.starts_with("state failed in train at epoch 0 step 3: cannot "), "{n}: {error}");
        assert_eq!(newest_step(&disk), Some(3));
    }
}
