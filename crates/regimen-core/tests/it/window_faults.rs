//! Accumulation windows with a failed step or update: continued or dropped.
#![allow(clippy::panic, clippy::unwrap_used)]

use crate::weighted::{Engine, Unit, moved, unit, weight};
use regimen_core::auto_unit::{NonFinite, TRAIN_LOSS};
use regimen_core::callback::Every;
use regimen_core::engine::{Engine as _, Part};
use regimen_core::run::{Report, Train};
use regimen_core::saved::{StateDict, load_parts, save_parts};
use regimen_core::unit::TrainUnit;
use regimen_core::{BoxError, Fit, Run, State};

const DATA: [(f64, f64); 4] = [(0.25, 1.0), (0.5, 1.0), (1.0, 1.0), (0.25, 1.0)];

/// A hook that fails at its `n`-th call.
fn failing(n: u64) -> impl FnMut(&mut Engine, &mut State) -> Result<(), BoxError> + Send + 'static {
    let mut calls = 0;
    move |_, _| {
        calls += 1;
        if calls == n { Err("once".into()) } else { Ok(()) }
    }
}

/// Trains a unit that fails, then continues, and compares the total change of the weight and the
/// notices of the second call.
#[track_caller]
fn check(mut unit: Unit, first: Train, second: Train, expected: f64, notices: &[&str]) {
    let moved = moved(&mut unit, |unit| {
        let mut run = Run::new(unit);
        run.train(&DATA, first).unwrap_err();
        let Report { notices: told, pending_steps, .. } = run.train(&DATA, second).unwrap();
        assert_eq!((told, pending_steps), (notices.iter().map(|&told| told.to_owned()).collect(), 0));
    });
    assert_eq!(moved, expected);
}

#[test]
fn a_window_that_failed_as_the_last_of_a_short_epoch_is_updated_at_once_where_the_epoch_is_longer_now() {
    // (0.25 + 0.5) / 2, of which the gradients are the mean already, and then (1 + 0.25) / 2.
    let short = Train::epochs(1).steps_per_epoch(2);
    check(unit().accumulate(4).before_update(failing(1)), short, Train::epochs(1), 1.0, &[]);
}

#[test]
fn a_window_that_failed_at_its_end_is_updated_at_once_after_a_restart_with_longer_ones() {
    let mut first = unit().accumulate(2).before_update(failing(1));
    let start = weight(&first);
    let mut run = Run::new(&mut first);
    run.train(&DATA, Train::epochs(1)).unwrap_err();
    let (state, parts) = (run.run_state().unwrap(), save_parts(run.unit_mut()).unwrap());
    let mut second = unit().accumulate(4);
    load_parts(&mut second, &parts).unwrap();
    let mut run = Run::new(&mut second);
    run.load_run_state(&state).unwrap();
    let report = run.train(&DATA, Train::epochs(1)).unwrap();
    assert_eq!((report.train.steps, report.train.updates), (4, 2));
    assert_eq!(report.notices, ["`accumulate` is 4 now, and was 2 in the checkpoint"]);
    drop(run);
    assert_eq!(start - weight(&second), 1.0);
}

#[test]
fn a_window_with_a_failed_step_is_dropped_where_the_epoch_ends_without_that_step() {
    let told =
        "the gradients of 2 steps are dropped: the step after them failed, and the epoch ended without it";
    let short = Train::epochs(1).steps_per_epoch(2);
    check(unit().accumulate(4).after_backward(failing(3)), Train::epochs(1), short, 0.0, &[told]);
}

/// Makes all losses equal, so that a step is not known again by its loss.
fn zero_weight(unit: &mut Unit) {
    let mut zero = StateDict::new();
    zero.insert("w", regimen_core::saved::Array::from_slice(&[0.0])).unwrap();
    unit.engine_mut().load_state(Part::Module, &zero).unwrap();
}

#[test]
fn a_failed_step_never_goes_into_another_run_that_has_the_same_loss() {
    let mut unit = unit().after_backward(failing(1));
    zero_weight(&mut unit);
    let moved = moved(&mut unit, |unit| {
        Run::new(unit).train(&[(0.25, 1.0)], Train::epochs(1)).unwrap_err();
        // No counted step is lost, so there is no notice.
        let report = Run::new(unit).train(&[(8.0, 1.0)], Train::epochs(1)).unwrap();
        assert_eq!(report.notices, [""; 0]);
    });
    assert_eq!(moved, 8.0);
}

#[test]
fn a_window_whose_failed_step_is_made_again_with_another_loss_is_dropped_and_told() {
    let mut unit = unit().accumulate(2).after_backward(failing(2));
    let moved = moved(&mut unit, |unit| {
        let mut run = Run::new(unit);
        run.train(&DATA, Train::epochs(1)).unwrap_err();
        let other = [(0.25, 1.0), (16.0, 1.0), (1.0, 1.0), (0.25, 1.0)];
        let report = run.train(&other, Train::epochs(1)).unwrap();
        let told =
            "the gradients of 1 step are dropped: the failed step after them was not repeated unchanged";
        assert_eq!(report.notices, [told]);
    });
    // 16 and 1, and then 0.25, which is the last of its epoch.
    assert_eq!(moved, 8.75);
}

#[test]
fn an_update_that_fails_at_the_end_of_a_shorter_epoch_loses_its_window_and_says_so() {
    let mut unit = unit().accumulate(4).before_update(failing(1));
    let moved = moved(&mut unit, |unit| {
        let mut run = Run::new(unit);
        run.train(&DATA, Train::steps(2)).unwrap();
        let error = run.train(&DATA, Train::epochs(1).steps_per_epoch(2)).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "unit failed in on_train_epoch_end in train at epoch 1 step 2: the gradients of 2 steps are lost: once"
        );
        // The epoch is counted, and the next one begins with an empty window.
        let report = run.train(&DATA, Train::epochs(2)).unwrap();
        assert_eq!((report.train.steps, report.train.updates, report.notices), (6, 1, vec![]));
    });
    assert_eq!(moved, 0.5);
}

#[test]
fn an_update_at_the_end_of_a_shorter_epoch_is_followed_by_its_evaluation() {
    let mut unit = unit().accumulate(4);
    let mut run = Run::new(&mut unit);
    let every = Every::updates(1);
    run.fit(&DATA, &DATA, Fit::steps(2).eval_every(every)).unwrap();
    let report = run.fit(&DATA, &DATA, Fit::epochs(1).steps_per_epoch(2).eval_every(every)).unwrap();
    assert_eq!((report.train.steps, report.train.updates, report.eval.epochs), (2, 1, 1));
}

/// Passes over the batches of slope 0, and those that fail.
struct PassesOver(Unit);

impl TrainUnit for PassesOver {
    type Batch = (f64, f64);

    fn train_step(&mut self, state: &mut State, batch: (f64, f64)) -> Result<(), BoxError> {
        if batch.0 != 0.0 {
            let _ = self.0.train_step(state, batch);
        }
        Ok(())
    }

    fn on_train_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.0.on_train_start(state)
    }

    fn on_train_epoch_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.0.on_train_epoch_start(state)
    }

    fn on_train_epoch_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.0.on_train_epoch_end(state)
    }

    fn on_train_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.0.on_train_end(state)
    }
}

/// Trains `unit` on `slopes`, passing over some, and compares the change of the weight, the number of
/// updates, and the notices.
#[track_caller]
fn check_passing_over<const N: usize>(unit: Unit, slopes: [f64; N], expected: f64, told: &[&str]) {
    let mut unit = PassesOver(unit.accumulate(2));
    let start = weight(&unit.0);
    let report = Run::new(&mut unit).train(&slopes.map(|slope| (slope, 1.0)), Train::epochs(1)).unwrap();
    assert_eq!(
        (report.train.steps, report.notices),
        (N as u64, told.iter().map(|&s| s.to_owned()).collect())
    );
    assert_eq!(((start - weight(&unit.0)) * 1e9).round() / 1e9, expected);
}

#[test]
fn a_unit_around_this_one_may_pass_over_batches_within_a_window() {
    check_passing_over(unit(), [1.0, 0.0, 3.0, 1.0, 0.0, 3.0], 4.0, &[]);
}

#[test]
fn a_step_that_failed_and_was_passed_over_never_stands_for_the_next_of_the_same_loss() {
    let mut unit = unit().after_backward(failing(2));
    zero_weight(&mut unit);
    let told = "the gradients of 1 step are dropped: the failed step after them was not repeated unchanged";
    // Without the first two: (4 + 8) / 2.
    check_passing_over(unit, [1.0, 2.0, 4.0, 8.0], 6.0, &[told]);
}

#[test]
fn a_window_that_is_skipped_reports_its_finite_loss_in_whatever_order_its_batches_come() {
    let loss = |slopes: [f64; 2]| {
        let mut unit = unit().accumulate(2).non_finite(NonFinite::Skip);
        let report = Run::new(&mut unit).train(&slopes.map(|slope| (slope, 1.0)), Train::epochs(1)).unwrap();
        (report.metric(TRAIN_LOSS), unit.skipped())
    };
    let expected = (Some(3.0 * weight(&unit())), 1);
    assert_eq!([loss([3.0, f64::NAN]), loss([f64::NAN, 3.0])], [expected; 2]);
}
