//! Saves and notices after a save or a call that failed.

use std::io::ErrorKind;

use regimen::callback::{Event, Every};
use regimen::checkpoint::{Checkpointer, SimDisk};
use regimen::run::{Ended, Evaluate, Train, Which};
use regimen::{Fit, Run, State};

use super::common::*;

#[test]
fn a_save_that_failed_right_before_an_error_is_made_up_for() {
    for in_foreground in [false, true] {
        let disk = SimDisk::new();
        let saver = saver(&disk).every(Every::steps(2)).without_post_mortem();
        let saver = if in_foreground { saver.in_foreground() } else { saver };
        let (mut unit, mut failed) = (Walk::new(), false);
        let broken = disk.clone();
        let mut run = Run::new(&mut unit)
            .on(Event::TrainStepEnd, move |state: &mut State, _: &mut Walk| {
                if state.train_progress().steps == 2 {
                    broken.fail_at(broken.operations() + 1, ErrorKind::StorageFull);
                }
            })
            .on(Event::TrainStepStart, move |state: &mut State, _: &mut Walk| {
                match state.train_progress().steps == 2 && !std::mem::replace(&mut failed, true) {
                    true => Err("once".into()),
                    false => Ok(()),
                }
            })
            .saver(saver);
        run.train(&[1; 9], Train::steps(4)).unwrap_err();
        assert_eq!(run.train(&[1; 9], Train::steps(2)).unwrap().ended, Ended::Complete);
        assert_eq!(on_disk(&disk), "2");
    }
}

#[test]
fn a_report_names_no_post_mortem_as_where_the_run_is_saved() {
    let disk = SimDisk::new();
    let mut unit = Walk { fail_after: Some(3), ..Walk::new() };
    let mut run = Run::new(&mut unit).saver(saver(&disk).every(Every::steps(2)));
    run.train(&[1; 9], Train::steps(4)).unwrap_err();
    assert_eq!(on_disk(&disk), "post-mortem-2 2");
    let report = run.train(&[1; 9], Train::steps(2)).unwrap();
    assert_eq!(report.saved.as_deref(), Some("/runs/walk/step-000000002"));
}

#[test]
fn the_best_put_back_at_the_end_leaves_out_what_a_restore_does_and_is_not_saved_over_the_end() {
    let disk = SimDisk::new();
    let best = |saver: Checkpointer| saver.keep_min(1, EVAL_LOSS).restore_best_at_end();
    let mut unit = Walk { losses: vec![2.0, 1.0, 3.0], ..Walk::new() };
    let saver = best(saver(&disk)).restore_without("momentum");
    let mut run = Run::new(&mut unit).saver(saver);
    let report = run.fit(&[1], &[1], Fit::epochs(3)).unwrap();
    assert_eq!(report.notices, ["part `momentum` is left out, and stays as it is"]);
    run.evaluate(&[1], Evaluate::whole().resume("test")).unwrap();
    drop(run);
    // Of the end and the best; the pass by hand has saved neither.
    assert_eq!(on_disk(&disk), "3 2");
    assert_eq!(newest(&disk).checkpoint.manifest().metrics.get("eval/loss"), Some(&3.0));
}

#[test]
fn a_run_restored_from_another_directory_is_saved_in_its_own() {
    let disk = SimDisk::new();
    let mut unit = Walk::new();
    Run::new(&mut unit).saver(saver(&disk)).train(&[1; 9], Train::steps(2)).unwrap();
    let from = newest(&disk).checkpoint.path().to_owned();
    let there = Checkpointer::new("/runs/other").store(std::sync::Arc::new(disk.clone()));
    let mut run = Run::new(&mut unit).saver(there);
    run.restore(Which::Path(&from)).unwrap();
    let report = run.train(&[1; 9], Train::steps(2)).unwrap();
    assert_eq!(report.saved.as_deref(), Some("/runs/other/step-000000002"));
}
