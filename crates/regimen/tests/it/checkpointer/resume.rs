//! A run that was stopped anywhere and resumed ends with the same bytes as one that was not.

use regimen::callback::Every;
use regimen::checkpoint::{Checkpointer, SimDisk};
use regimen::run::Moment;
use regimen::saved::StateDict;
use regimen::{Fit, Run};
use regimen_test::{Recorder, Transcript};
use std::collections::BTreeMap;

use super::common::*;

const TRAIN: [u64; 5] = [3, 1, 4, 1, 5];
const EVAL: [u64; 2] = [2, 7];

fn config() -> Fit {
    Fit::epochs(5).max_steps(18).steps_per_epoch(4).eval_every(Every::steps(3).or(Every::epochs(2)))
}

fn setup(saver: Checkpointer) -> Checkpointer {
    saver.every(Every::steps(5)).every_evaluations(2)
}

/// Fits until it is complete, in one process per entry of `stops`, each of which is stopped after so
/// many calls of the unit. Returns the content of the last checkpoint.
fn fit(stops: &[u64], seed: u64) -> BTreeMap<String, StateDict> {
    let disk = SimDisk::new();
    for stop_after in stops.iter().copied().map(Some).chain([None]) {
        let mut unit = Walk { stop_after, ..Walk::new() };
        let mut run = Run::new(&mut unit).seed(seed).saver(setup(saver(&disk)));
        run.restore_latest().unwrap();
        let report = run.fit(&TRAIN, &EVAL, config()).unwrap();
        drop(run);
        assert_eq!(newest(&disk).checkpoint.manifest().step, report.train.steps);
    }
    newest(&disk).content
}

#[test]
fn every_step_is_one_to_stop_at() {
    let whole = fit(&[], 7);
    assert_ne!(whole, fit(&[], 8));
    let state = Moment::saved_state(&whole["run"]).unwrap();
    let calls = state.train_progress().steps + state.eval_progress().steps;
    assert_eq!(calls, 18 + 16);
    for k in 1..=calls {
        assert_eq!(fit(&[k], 7), whole, "stopped after {k}");
        assert_eq!(fit(&[k, 1, 2], 7), whole, "stopped after {k}, 1 and 2 more");
    }
}

#[test]
fn a_run_killed_between_saves_goes_on_from_the_last_one() {
    let whole = fit(&[], 7);
    for fail_after in 1..=34 {
        let disk = SimDisk::new();
        let mut unit = Walk { fail_after: Some(fail_after), ..Walk::new() };
        let mut run = Run::new(&mut unit).seed(7).saver(setup(saver(&disk)));
        run.fit(&TRAIN, &EVAL, config()).unwrap_err();
        drop(run);
        let mut unit = Walk::new();
        let mut run = Run::new(&mut unit).seed(7).saver(setup(saver(&disk)));
        run.restore_latest().unwrap();
        run.fit(&TRAIN, &EVAL, config()).unwrap();
        drop(run);
        assert_eq!(newest(&disk).content, whole, "failed after {fail_after}");
    }
}

#[test]
fn a_resumed_run_is_the_same_run_and_the_same_seed() {
    let disk = SimDisk::new();
    let mut first = Walk { stop_after: Some(3), ..Walk::new() };
    Run::new(&mut first).seed(5).saver(saver(&disk)).fit(&TRAIN, &EVAL, config()).unwrap();
    let mut second = Walk::new();
    let mut run = Run::new(&mut second).saver(saver(&disk));
    let restored = run.restore_latest().unwrap().unwrap();
    assert_eq!((restored.step, run.state().seed()), (3, 5));
    assert!(restored.from.ends_with("step-000000003"), "{}", restored.from);
    run.fit(&TRAIN, &EVAL, config()).unwrap();
    drop(run);
    let runs = checkpoints(&disk).list().unwrap().checkpoints;
    assert!(runs.iter().all(|checkpoint| checkpoint.manifest().run == runs[0].manifest().run));
}

#[test]
fn what_callbacks_are_told_does_not_depend_on_the_saver() {
    let tell = |saves: bool| {
        let (transcript, mut unit) = (Transcript::new(), Walk::new());
        let mut run = Run::new(&mut unit).callback(Recorder::new(&transcript));
        if saves {
            run = run.saver(saver(&SimDisk::new()).every(Every::steps(1)));
        }
        run.fit(&TRAIN, &EVAL, config()).unwrap();
        drop(run);
        (transcript.to_string(), unit)
    };
    assert_eq!(tell(true), tell(false));
}
