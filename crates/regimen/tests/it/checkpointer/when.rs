//! The times of saves, and retention.

use regimen::callback::Every;
use regimen::checkpoint::{Checkpoint, Checkpointer, SimDisk};
use regimen::run::{Evaluate, Moment};
use regimen::{Fit, Run, State};

use super::common::*;

/// `fit` over 5 batches of training and 2 of evaluation, with `saver`. Returns each checkpoint as it
/// was acknowledged: its name and the number of complete evaluations.
fn saved(config: Fit, unit: Walk, saver: impl FnOnce(Checkpointer) -> Checkpointer) -> (String, String) {
    let (disk, acknowledged) = (SimDisk::new(), Acknowledged::default());
    let evals = |checkpoint: &Checkpoint| {
        let run = checkpoint.read("run").unwrap();
        let evals = Moment::saved_state(&run).unwrap().eval_progress();
        format!("{}/{}", name(checkpoint.path()), evals.epochs)
    };
    let saver = acknowledged.by(evals, saver(super::common::saver(&disk)));
    let mut unit = unit;
    let mut run = Run::new(&mut unit).saver(saver);
    let _ = run.fit(&[1; 5], &[1; 2], config);
    drop(run);
    (acknowledged.list().join(" "), on_disk(&disk))
}

#[track_caller]
fn check(config: Fit, saver: impl FnOnce(Checkpointer) -> Checkpointer, expected: &str) {
    assert_eq!(saved(config, Walk::new(), saver).0, expected);
}

#[test]
fn a_save_comes_at_every_cadence_and_at_the_end() {
    // As `step/evaluations`.
    check(Fit::epochs(2).eval_every(Every::NEVER), |saver| saver, "10/0");
    check(Fit::epochs(0), |saver| saver, "0/0");
    check(Fit::steps(7).eval_every(Every::NEVER), |saver| saver.every(Every::steps(2)), "2/0 4/0 6/0 7/0");
    check(Fit::epochs(2).eval_every(Every::NEVER), |saver| saver.every(Every::epochs(1)), "5/0 10/0");
    check(Fit::epochs(2), |saver| saver.every_evaluations(2), "10/2");
    check(Fit::epochs(3), |saver| saver.every_evaluations(2), "10/2 15/3");
}

#[test]
fn a_save_comes_when_enough_time_has_passed() {
    let (disk, mut unit) = (SimDisk::new(), Walk::new());
    let slow = |state: &mut State, _: &mut Walk| {
        if state.train_progress().steps == 2 {
            std::thread::sleep(std::time::Duration::from_millis(1001));
        }
    };
    let mut run = Run::new(&mut unit)
        .on(regimen::callback::Event::TrainStepEnd, slow)
        .saver(saver(&disk).every_seconds(1));
    run.train(&[1; 5], regimen::run::Train::steps(4)).unwrap();
    drop(run);
    assert!(on_disk(&disk).split(' ').any(|name| name == "2"), "{}", on_disk(&disk));
}

#[test]
fn a_save_that_is_due_with_an_evaluation_comes_after_it() {
    check(Fit::epochs(2), |saver| saver.every(Every::epochs(1)), "5/1 10/2");
    let steps = Fit::steps(4).eval_every(Every::steps(2));
    check(steps, |saver| saver.every(Every::steps(2)), "2/1 4/2");
    check(steps, |saver| saver.every(Every::steps(1)), "1/0 2/1 3/1 4/2");
    check(steps, |saver| saver.every(Every::steps(2)).every_evaluations(1), "2/1 4/2");
    // The last step of an epoch after which there is an evaluation.
    check(Fit::epochs(1), |saver| saver.every(Every::steps(1)), "1/0 2/0 3/0 4/0 5/1");
}

#[test]
fn an_end_that_changes_nothing_is_not_saved_again() {
    let twice = |saver: Checkpointer| saver.every(Every::steps(4));
    check(Fit::steps(4).eval_every(Every::NEVER), twice, "4/0");
    let (disk, mut unit) = (SimDisk::new(), Walk::new());
    for _ in 0..3 {
        let mut run = Run::new(&mut unit).saver(saver(&disk));
        run.restore_latest().unwrap();
        run.fit(&[1; 5], &[1; 2], Fit::epochs(1)).unwrap();
        run.fit(&[1; 5], &[1; 2], Fit::epochs(1)).unwrap();
    }
    assert_eq!(on_disk(&disk), "5");
}

#[test]
fn a_pause_is_saved_wherever_it_comes() {
    for (calls, expected) in [(1, "1/0"), (4, "4/0"), (5, "5/0"), (6, "5/0"), (7, "5/1"), (8, "6/1")] {
        let unit = Walk { stop_after: Some(calls), ..Walk::new() };
        let (saved, _) = saved(Fit::epochs(2), unit, |saver| saver);
        assert_eq!(saved, expected, "stopped after {calls} calls");
    }
}

#[test]
fn an_error_is_saved_for_the_post_mortem_only() {
    let unit = || Walk { fail_after: Some(7), ..Walk::new() };
    let every = |saver: Checkpointer| saver.every(Every::steps(4));
    assert_eq!(saved(Fit::epochs(2), unit(), every).1, "post-mortem-5 4");
    let without = |saver: Checkpointer| every(saver).without_post_mortem();
    assert_eq!(saved(Fit::epochs(2), unit(), without).1, "4");
}

#[test]
fn a_final_stop_is_saved_even_where_nothing_else_changed() {
    let (disk, mut unit) = (SimDisk::new(), Walk::new());
    let finish = |state: &mut State, _: &mut Walk| state.finish("enough");
    let mut run = Run::new(&mut unit)
        .on(regimen::callback::Event::CycleEnd, finish)
        .saver(saver(&disk).every(Every::epochs(1)));
    run.fit(&[1; 5], &[1; 2], Fit::epochs(2)).unwrap();
    drop(run);
    assert_eq!(on_disk(&disk), "5-2");
    let state = Moment::saved_state(&newest(&disk).content["run"]).unwrap();
    assert_eq!(state.stopping(), Some(&regimen::state::Stop::Finish("enough".into())));
}

#[test]
fn an_evaluation_called_by_itself_is_saved_only_if_it_has_a_name() {
    let (whole, named) = (Evaluate::whole(), Evaluate::whole().resume("test"));
    for (config, stop_after, expected) in
        [(whole, None, ""), (whole, Some(1), ""), (named, None, "0"), (named, Some(1), "0")]
    {
        let (disk, mut unit) = (SimDisk::new(), Walk { stop_after, ..Walk::new() });
        let mut run = Run::new(&mut unit).saver(saver(&disk).every_evaluations(1).every(Every::steps(1)));
        run.evaluate(&[1; 2], config).unwrap();
        drop(run);
        assert_eq!(on_disk(&disk), expected);
    }
}

/// Evaluates to `losses`, one per epoch. Returns the checkpoints on disk.
#[track_caller]
fn check_kept(losses: &[f64], saver: impl FnOnce(Checkpointer) -> Checkpointer, expected: &str) {
    let unit = Walk { losses: losses.to_vec(), ..Walk::new() };
    let (_, left) = saved(Fit::epochs(losses.len() as u64), unit, saver);
    assert_eq!(left, expected, "{losses:?}");
}

#[test]
fn the_best_are_those_of_the_evaluation_just_done() {
    let min = |n| move |saver: Checkpointer| saver.keep_min(n, EVAL_LOSS);
    check_kept(&[3.0, 1.0, 2.0, 5.0, 0.5], min(2), "25 10");
    check_kept(&[3.0, 1.0, 2.0, 5.0], |saver| saver.keep_max(2, EVAL_LOSS), "20 5");
    // A perfect loss is a value, equal ones keep the earlier, and NaN is never the best.
    check_kept(&[1.0, 0.0, 2.0], min(1), "15 10");
    check_kept(&[1.0, 1.0, 1.0], min(1), "15 5");
    check_kept(&[1.0, f64::NAN, f64::NEG_INFINITY, 2.0], min(1), "20 5");
    // A value of an earlier evaluation is not one of this evaluation.
    check_kept(&[2.0, 1.0, NOTHING, 3.0], min(2), "20 10 5");
    let both = |saver: Checkpointer| saver.every(Every::steps(1)).keep_max(1, EVAL_LOSS);
    check_kept(&[1.0, 3.0, 2.0], both, "15 10");
    let trained = |saver: Checkpointer| saver.keep_max(1, TRAIN_LOSS);
    check_kept(&[1.0, 3.0, 2.0], trained, "15 5");
}

#[test]
fn what_was_measured_is_saved_with_its_step_and_no_other() {
    let (disk, mut unit) = (SimDisk::new(), Walk::new());
    let mut run = Run::new(&mut unit).saver(saver(&disk).every(Every::steps(1)));
    run.fit(&[1; 3], &[1; 2], Fit::steps(5)).unwrap();
    drop(run);
    let metrics = |checkpoint: &Checkpoint| {
        let names = checkpoint.manifest().metrics.keys().map(String::as_str);
        format!("{}: {}", name(checkpoint.path()), names.collect::<Vec<_>>().join(" "))
    };
    let listing = checkpoints(&disk).list().unwrap();
    let listed: Vec<_> = listing.checkpoints.iter().map(metrics).collect();
    assert_eq!(listed, ["5: ", "4: ", "3: eval/loss train/loss", "2: ", "1: "]);
}

#[test]
fn the_last_and_every_kth_are_kept_as_asked() {
    let each = |saver: Checkpointer| saver.every(Every::epochs(1));
    check_kept(&[1.0; 5], each, "25 20 15 10 5");
    check_kept(&[1.0; 5], |saver| each(saver).keep_last(2), "25 20");
    check_kept(&[1.0; 5], |saver| each(saver).keep_every_steps(10), "25 20 10");
    check_kept(&[2.0, 1.0, 3.0, 4.0, 5.0], |saver| each(saver).keep_last(1).keep_min(1, EVAL_LOSS), "25 10");
}

#[test]
fn settings_that_cannot_be_used_are_returned_when_the_run_starts() {
    #[track_caller]
    fn check(saver: impl Fn(Checkpointer) -> Checkpointer, expected: &str) {
        let (disk, mut unit) = (SimDisk::new(), Walk::new());
        let mut run = Run::new(&mut unit).saver(saver(super::common::saver(&disk)));
        let error = run
            .train(&[1; 5], regimen::run::Train::steps(1))
            .map_err(|error| format!("{error:#}"))
            .unwrap_err();
        assert!(error.contains(expected), "{error}");
        let error = run.restore_latest().map_err(|error| format!("{error:#}")).unwrap_err();
        assert!(error.contains(expected), "{error}");
        drop(run);
        assert_eq!((unit.calls, disk.operations()), (0, 0));
    }
    check(|saver| saver.every(Every::steps(0)), "`Checkpointer::every`: a cadence of 0");
    check(|saver| saver.every_evaluations(0), "`Checkpointer::every_evaluations`: 0");
    check(|saver| saver.every_seconds(0), "`Checkpointer::every_seconds`: 0");
    check(|saver| saver.keep_last(0), "`Checkpointer::keep_last`");
    check(|saver| saver.keep_min(0, EVAL_LOSS), "`Checkpointer::keep_min`");
    check(|saver| saver.keep_every_steps(0), "`Checkpointer::keep_every_steps`");
    check(|saver| saver.restore_best_at_end(), "needs `keep_min` or `keep_max`");
}
