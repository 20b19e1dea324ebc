//! Restores: the selection, the notices, and that it is all or nothing.

use std::path::Path;
use std::sync::{Arc, Mutex};

use regimen::callback::{Event, Every};
use regimen::checkpoint::{Checkpointer, SimDisk, Store};
use regimen::run::{Moment, Train, Which};
use regimen::saved::{AppState, Parts, StateDict, Stateful};
use regimen::state::HyperParameters;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Fit, Run, State};
use regimen_test::{BadState, Fault};

use super::common::*;

/// A disk with checkpoints of the steps 5, 10, 15 and 20, the best of which is 10.
fn four() -> SimDisk {
    let disk = SimDisk::new();
    let mut unit = Walk { losses: vec![3.0, 1.0, 2.0, 4.0], ..Walk::new() };
    let mut run = Run::new(&mut unit).saver(best(&disk).keep_last(9));
    run.fit(&[1; 5], &[1; 2], Fit::epochs(4)).unwrap();
    drop(run);
    assert_eq!(on_disk(&disk), "20 15 10 5");
    disk
}

fn best(disk: &SimDisk) -> Checkpointer {
    saver(disk).every(Every::epochs(1)).keep_min(1, EVAL_LOSS)
}

/// Flips a bit in the middle of a file.
fn damage(disk: &SimDisk, file: &str) {
    let file = Path::new(DIR).join(file);
    let mut bytes = Vec::new();
    disk.open(&file).unwrap().bytes.read_to_end(&mut bytes).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    disk.remove_file(&file).unwrap();
    let mut new = disk.create(&file).unwrap();
    new.write_all(&bytes).unwrap();
    new.sync().unwrap();
}

/// The outcome of a restore: the step, or the error; and the checkpoints passed over.
#[track_caller]
fn check(disk: &SimDisk, which: Which<'_>, expected: Result<Option<u64>, &str>, skipped: &[&str]) {
    let mut unit = Walk::new();
    let before = unit.clone();
    let mut run = Run::new(&mut unit).saver(best(disk));
    let restored = match which {
        Which::Latest => run.restore_latest(),
        which => run.restore(which).map(Some),
    };
    match (restored, expected) {
        (Ok(None), Ok(None)) => assert_eq!(*run.unit(), before),
        (Ok(Some(restored)), Ok(Some(step))) => {
            assert_eq!((restored.step, run.state().train_progress().steps), (step, step));
            assert_eq!(restored.skipped.len(), skipped.len(), "{:?}", restored.skipped);
            for (found, expected) in restored.skipped.iter().zip(skipped) {
                assert!(found.contains(expected), "{found}");
            }
            assert_ne!(*run.unit(), before);
        }
        (Err(error), Err(expected)) => {
            let error = format!("{error:#}");
            assert!(error.contains(expected), "{error}");
            assert_eq!((run.state().train_progress().steps, run.unit()), (0, &before));
        }
        (came, expected) => panic!("{came:?} in place of {expected:?}"),
    }
}

#[test]
fn the_checkpoint_that_was_asked_for_is_restored() {
    let disk = four();
    check(&disk, Which::Latest, Ok(Some(20)), &[]);
    check(&disk, Which::Best, Ok(Some(10)), &[]);
    check(&disk, Which::Step(15), Ok(Some(15)), &[]);
    check(&disk, Which::Step(7), Err("has no checkpoint of step 7"), &[]);
    check(&disk, Which::Path(&Path::new(DIR).join("step-000000005")), Ok(Some(5)), &[]);
    check(&disk, Which::Path(Path::new("/runs/other")), Err("/runs/other"), &[]);
}

#[test]
fn a_directory_without_checkpoints_is_a_new_run() {
    check(&SimDisk::new(), Which::Latest, Ok(None), &[]);
    let none = "no checkpoint in `/runs/walk` has a value of `eval/loss`";
    check(&SimDisk::new(), Which::Best, Err(none), &[]);
    let disk = SimDisk::new();
    let mut unit = Walk { fail_after: Some(2), ..Walk::new() };
    Run::new(&mut unit).saver(saver(&disk)).train(&[1; 5], Train::epochs(1)).unwrap_err();
    assert_eq!(on_disk(&disk), "post-mortem-1");
    check(&disk, Which::Latest, Ok(None), &[]);
    let path = Path::new(DIR).join("post-mortem-000000001");
    check(&disk, Which::Path(&path), Err("for the post-mortem only"), &[]);
}

#[test]
fn damaged_ones_are_passed_over_and_named() {
    let disk = four();
    damage(&disk, "step-000000020/weights.safetensors");
    check(&disk, Which::Latest, Ok(Some(15)), &["step-000000020/weights.safetensors"]);
    damage(&disk, "step-000000015/MANIFEST");
    let both = ["step-000000015/MANIFEST", "step-000000020/weights.safetensors"];
    check(&disk, Which::Latest, Ok(Some(10)), &both);
    damage(&disk, "step-000000010/run.safetensors");
    check(&disk, Which::Best, Ok(Some(5)), &["step-000000015/MANIFEST", "step-000000010/run"]);
    check(&disk, Which::Step(15), Err("no checkpoint in it is whole"), &[]);
    damage(&disk, "step-000000005/momentum.safetensors");
    check(&disk, Which::Latest, Err("no checkpoint in it is whole"), &[]);
}

#[test]
fn what_was_passed_over_becomes_a_notice_and_the_run_goes_on() {
    let disk = four();
    damage(&disk, "step-000000020/weights.safetensors");
    let notices = Arc::new(Mutex::new(Vec::new()));
    let (told, mut unit) = (notices.clone(), Walk::new());
    let mut run = Run::new(&mut unit)
        .on(Event::Notice, move |state: &mut State, _: &mut Walk| {
            told.lock().unwrap().extend_from_slice(state.notices());
        })
        .saver(saver(&disk));
    run.restore_latest().unwrap();
    run.fit(&[1; 5], &[1; 2], Fit::epochs(4)).unwrap();
    drop(run);
    let notices = notices.lock().unwrap();
    assert!(notices[0].starts_with("passed over cannot read `/runs/walk/step-000000020/"), "{notices:?}");
    assert!(on_disk(&disk).starts_with("20-2 15"));
}

/// A unit with a good part before and after a part that fails on request.
struct Fragile {
    before: u64,
    bad: BadState,
    after: Vec<f64>,
}

impl AppState for Fragile {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("before", &mut self.before)?;
        parts.part("bad", &mut self.bad)?;
        parts.part("later", &mut self.after)
    }
}

impl TrainUnit for Fragile {
    type Batch = u64;

    fn train_step(&mut self, _: &mut State, batch: u64) -> Result<(), BoxError> {
        self.before += batch;
        self.bad.value += batch;
        self.after.push(batch as f64);
        Ok(())
    }
}

#[test]
fn a_restore_that_fails_leaves_unit_and_run_as_they_were() {
    let disk = SimDisk::new();
    let good = || BadState { value: 0, fault: None };
    let mut unit = Fragile { before: 0, bad: good(), after: Vec::new() };
    Run::new(&mut unit).saver(saver(&disk)).train(&[1; 5], Train::steps(3)).unwrap();
    for fault in [Fault::Check, Fault::Load] {
        let mut unit = Fragile { before: 7, bad: BadState::new(8, fault), after: vec![9.0] };
        let mut run = Run::new(&mut unit).seed(3).saver(saver(&disk));
        let error = run.restore_latest().map_err(|error| format!("{error:#}")).unwrap_err();
        assert!(error.contains("step-000000003`: part `bad`: told to fail"), "{error}");
        assert_eq!((run.state().train_progress().steps, run.state().seed()), (0, 3));
        drop(run);
        assert_eq!((unit.before, unit.bad.value, &*unit.after), (7, 8, &[9.0][..]), "{fault:?}");
    }
}

/// A callback that saves a number, and refuses another one late.
struct Picky(u64);

impl Stateful for Picky {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        self.0.state_dict()
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let value = dict.get("value")?;
        if self.0 == 0 {
            return Err("told to fail".into());
        }
        self.0 = value;
        Ok(())
    }
}

impl<U: ?Sized> regimen::Callback<U> for Picky {
    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

#[test]
fn a_callback_that_cannot_be_restored_leaves_the_unit_as_it_was() {
    let (disk, mut unit) = (SimDisk::new(), Walk::new());
    Run::new(&mut unit).callback(Picky(1)).saver(saver(&disk)).train(&[1; 5], Train::steps(3)).unwrap();
    let (mut other, fresh) = (Walk::new(), Walk::new());
    let mut run = Run::new(&mut other).callback(Picky(0)).saver(saver(&disk));
    let error = run.restore_latest().map_err(|error| format!("{error:#}")).unwrap_err();
    assert!(error.contains("callback Picky: told to fail"), "{error}");
    assert_eq!((run.state().train_progress().steps, run.unit()), (0, &fresh));
}

#[test]
fn a_restore_that_fails_over_a_unit_that_cannot_be_saved_says_so() {
    let disk = SimDisk::new();
    let mut unit = Fragile { before: 0, bad: BadState { value: 0, fault: None }, after: Vec::new() };
    Run::new(&mut unit).callback(Picky(1)).saver(saver(&disk)).train(&[1; 5], Train::steps(3)).unwrap();
    let mut other = Fragile { before: 7, bad: BadState::new(8, Fault::Save), after: Vec::new() };
    let mut run = Run::new(&mut other).callback(Picky(0)).saver(saver(&disk));
    let error = run.restore_latest().map_err(|error| format!("{error:#}")).unwrap_err();
    let expected = "state failed in train at epoch 0 step 0: `/runs/walk/step-000000003`: callback Picky: told to fail; \
                    and there is no copy of the unit before to put back: part `bad`: told to fail";
    assert_eq!(error, expected);
    drop(run);
    // Without a callback that refuses, such a unit is restored.
    Run::new(&mut other).callback(Picky(1)).saver(saver(&disk)).restore_latest().unwrap();
    assert_eq!((other.before, other.bad.value, &*other.after), (3, 3, &[1.0; 3][..]));
}

#[test]
fn another_units_checkpoint_is_refused_in_words() {
    let (disk, mut unit) = (SimDisk::new(), Walk::new());
    Run::new(&mut unit).saver(saver(&disk)).train(&[1; 5], Train::steps(3)).unwrap();
    let mut other = Fragile { before: 0, bad: BadState { value: 0, fault: None }, after: Vec::new() };
    let error = Run::new(&mut other)
        .saver(saver(&disk))
        .restore_latest()
        .map_err(|error| format!("{error:#}"))
        .unwrap_err();
    assert!(error.contains("part `before` was not saved"), "{error}");
}

#[test]
fn a_run_that_was_not_restored_does_not_mix_with_the_one_that_is_there() {
    let disk = four();
    let mut unit = Walk::new();
    let mut run = Run::new(&mut unit).saver(saver(&disk));
    let error = run.train(&[1; 5], Train::steps(1)).map_err(|error| format!("{error:#}")).unwrap_err();
    assert!(
        error.contains("`/runs/walk` holds checkpoints of another run, the newest of step 20"),
        "{error}"
    );
    assert_eq!(run.state().train_progress().steps, 0);
    run.restore(Which::Step(10)).unwrap();
    run.train(&[1; 5], Train::steps(12)).unwrap();
    drop(run);
    assert_eq!(on_disk(&disk), "12 20 15 10 5");
    // The newest is the one saved last, not the one of the highest step.
    check(&disk, Which::Latest, Ok(Some(12)), &[]);
}

#[test]
fn two_runs_cannot_write_to_one_directory() {
    let dir = tempfile::tempdir().unwrap();
    let saver = || Checkpointer::new(dir.path().join("run"));
    let (mut first, mut second) = (Walk::new(), Walk::new());
    let mut run = Run::new(&mut first).saver(saver());
    run.train(&[1; 5], Train::steps(1)).unwrap();
    let mut other = Run::new(&mut second).saver(saver());
    other.restore_latest().unwrap();
    let error = other.train(&[1; 5], Train::steps(2)).map_err(|error| format!("{error:#}")).unwrap_err();
    assert!(error.contains(&format!("process {} on ", std::process::id())), "{error}");
    drop(run);
    other.train(&[1; 5], Train::steps(2)).unwrap();
}

#[test]
fn the_best_is_put_back_when_a_training_is_over_but_not_when_it_is_paused() {
    let losses = vec![3.0, 1.0, 2.0, 4.0];
    let fit = |stop: fn(&mut State)| {
        let (disk, mut unit) = (SimDisk::new(), Walk { losses: losses.clone(), ..Walk::new() });
        let mut run = Run::new(&mut unit)
            .on(Event::EvalEnd, move |state: &mut State, _: &mut Walk| {
                if state.eval_progress().epochs == 3 {
                    stop(state)
                }
            })
            .saver(best(&disk).restore_best_at_end());
        run.fit(&[1; 5], &[1; 2], Fit::epochs(4)).unwrap();
        let steps = run.state().train_progress().steps;
        drop(run);
        let of = |step| {
            let found = checkpoints(&disk).load(Which::Step(step)).unwrap();
            found.is_some_and(|found| found.content["weights"] == unit.weights.state_dict().unwrap())
        };
        (steps, of(steps), of(10))
    };
    assert_eq!(fit(|_| {}), (20, false, true));
    assert_eq!(fit(|state| state.finish("early")), (15, false, true));
    assert_eq!(fit(|state| state.pause("later")), (15, true, false));
}

#[test]
fn hyper_parameters_are_saved_and_compared() {
    let disk = SimDisk::new();
    let with = |rate: f64| HyperParameters::new().with("rate", rate).with("layers", 3);
    let none = HyperParameters::new;
    let mut unit = Walk::new();
    Run::new(&mut unit)
        .hyper_parameters(with(0.1))
        .saver(saver(&disk))
        .train(&[1; 5], Train::steps(3))
        .unwrap();

    let restore = |given: HyperParameters, saver: Checkpointer| {
        let mut unit = Walk::new();
        let mut run = Run::new(&mut unit).saver(saver);
        if !given.is_empty() {
            run = run.hyper_parameters(given);
        }
        let restored = run.restore_latest().map_err(|error| format!("{error:#}"))?.unwrap();
        let notices = run.train(&[1; 5], Train::steps(3)).unwrap().notices;
        assert_eq!(notices, restored.differences);
        Ok::<_, String>(notices.join("\n"))
    };
    assert_eq!(restore(with(0.1), saver(&disk)).unwrap(), "");
    assert_eq!(restore(none(), saver(&disk)).unwrap(), "");
    assert_eq!(
        restore(with(0.2), saver(&disk)).unwrap(),
        "hyper-parameters differ: `rate` was 0.1 and is 0.2"
    );
    let other = || none().with("rate", 0.1).with("width", 8);
    let told = "hyper-parameters differ: `layers` was 3 and is not given\n\
                hyper-parameters differ: `width` was not given and is 8";
    assert_eq!(restore(other(), saver(&disk)).unwrap(), told);
    let strict = || saver(&disk).hyper_parameters_must_match();
    assert_eq!(
        restore(other(), strict()).unwrap_err(),
        "state failed in train at epoch 0 step 0: hyper-parameters differ: `layers` was 3 and is not given; `width` was not given and is 8"
    );
    assert_eq!(restore(with(0.1), strict()).unwrap(), "");
    // If none are given, the saved ones are saved again.
    let mut unit = Walk::new();
    let mut run = Run::new(&mut unit).saver(saver(&disk));
    run.restore_latest().unwrap();
    run.train(&[1; 5], Train::steps(4)).unwrap();
    drop(run);
    let saved = Moment::saved_state(&newest(&disk).content["run"]).unwrap();
    assert_eq!(saved.hyper_parameters(), &with(0.1));
}

#[test]
fn the_best_is_restored_by_a_call_of_its_own_and_must_be_there() {
    let mut unit = Walk::new();
    let disk = four();
    let mut run = Run::new(&mut unit).saver(best(&disk));
    assert_eq!(run.restore_best().unwrap().step, 10);
    let mut unit = Walk::new();
    let error = Run::new(&mut unit).saver(best(&SimDisk::new())).restore_best().unwrap_err();
    assert!(
        format!("{error:#}").contains("no checkpoint in `/runs/walk` has a value of `eval/loss`"),
        "{error:#}"
    );
    let error = Run::new(&mut unit).saver(saver(&disk)).restore_best().unwrap_err();
    assert!(
        format!("{error:#}")
            .contains("the best by what? say it with `Checkpointer::keep_min`, `keep_max` or"),
        "{error}"
    );
    let error = Run::new(&mut unit).saver(saver(&SimDisk::new())).restore(Which::Latest).unwrap_err();
    assert!(format!("{error:#}").contains("`restore`: the saver has nothing to restore"), "{error:#}");
}
