//! Losses and norms that stay on the device until somebody looks: what is told of those that are not finite,
//! when, and what is left of them. How much is read, and that it is the same, is in the engine suite.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use crate::one_weight::{Slope, Unit, weight};
use regimen_core::auto_unit::{NonFinite, Plateau, TRAIN_LOSS};
use regimen_core::callback::Event;
use regimen_core::engine::Engine as _;
use regimen_core::run::{Ended, Train};
use regimen_core::saved::{load_parts, save_parts};
use regimen_core::state::Phase;
use regimen_core::{AutoUnit, BoxError, Error, Fit, Run, State};
use regimen_test::toy::ToyEngine;

const NAN: f64 = f64::NAN;

/// A step subtracts an eighth of its batch from the weight, which is 1 at first.
fn unit() -> Unit {
    let (engine, _) = crate::one_weight::unit(0.0).into_parts();
    AutoUnit::new(engine.reads_later(), Slope { weight: 1.0, refuse: None }).learning_rate(0.125)
}

fn text(error: &Error) -> String {
    std::error::Error::source(error).unwrap().to_string()
}

/// Trains on `batches`, which must fail at `step` with `expected`, and compares the weight.
#[track_caller]
fn check(unit: Unit, batches: &[f64], config: Train, step: u64, expected: &str, expected_weight: f64) {
    let mut unit = unit;
    let error = Run::new(&mut unit).train(batches, config).unwrap_err();
    assert_eq!((error.place().step, text(&error)), (step, expected.to_owned()));
    assert!(error.not_finite_step().is_some_and(|bad| bad <= step));
    assert_eq!(weight(unit.engine()), expected_weight);
}

#[test]
fn a_loss_that_is_not_finite_is_told_with_its_step_and_its_update_is_not_made() {
    let told = "the loss of step 2 is not finite: NaN";
    // At the end of the epoch, and at that of the call.
    check(unit(), &[1.0, 1.0, NAN, 1.0], Train::epochs(1), 4, told, 1.0 - 0.375);
    check(unit(), &[1.0, 1.0, NAN, 1.0, 1.0], Train::steps(4), 4, told, 1.0 - 0.375);
    // And else when 64 losses wait.
    let mut long = vec![0.125; 500];
    long[2] = NAN;
    check(unit(), &long, Train::epochs(1), 64, told, 1.0 - 63.0 / 64.0);
    for bad in [f64::INFINITY, f64::NEG_INFINITY] {
        let told = format!("the loss of step 0 is not finite: {bad}");
        check(unit(), &[bad, 1.0], Train::epochs(1), 2, &told, 1.0 - 0.125);
    }
}

#[test]
fn a_window_with_it_makes_no_update() {
    let told = "the loss of step 0 is not finite: NaN";
    check(unit().accumulate(2), &[NAN, 1.0, 1.0, 2.0], Train::epochs(1), 4, told, 1.0 - 0.1875);
    // One that is open when it is told is dropped.
    let mut unit = unit().accumulate(3);
    let mut run = Run::new(&mut unit);
    let error = run.train(&[1.0, NAN, 1.0, 3.0], Train::steps(2)).unwrap_err();
    assert_eq!(text(&error), "the loss of step 1 is not finite: NaN");
    run.train(&[1.0, NAN, 1.0, 3.0], Train::epochs(1)).unwrap();
    drop(run);
    assert_eq!(weight(unit.engine()), 1.0 - 0.25);
}

#[test]
fn a_norm_that_is_not_finite_is_told_with_its_step() {
    let spoilt = |engine: &mut ToyEngine<_>, state: &mut State| match state.train_progress().steps {
        1 => engine.scale_gradients(f64::INFINITY),
        _ => Ok(()),
    };
    let told = "the gradient of the update in step 1 is not finite: its norm is inf";
    let unit = unit().clip_norm(1.0).after_backward(spoilt);
    check(unit, &[1.0, 1.0, 4.0], Train::epochs(1), 3, told, 1.0 - 0.25);
}

#[test]
fn a_norm_at_the_end_of_an_epoch_is_told_with_the_last_step_of_it() {
    let spoilt = |engine: &mut ToyEngine<_>, _: &mut State| engine.scale_gradients(f64::INFINITY);
    let check = |unit: Unit, expected: &str| {
        let mut unit = unit.accumulate(3).clip_norm(1.0).before_update(spoilt);
        let mut run = Run::new(&mut unit);
        let data = [1.0; 4];
        run.train(&data, Train::steps(2)).unwrap();
        // The cap is lower now, so no step is the last.
        let error = run.train(&data, Train::epochs(1).steps_per_epoch(2)).unwrap_err();
        assert_eq!((error.place().step, error.not_finite_step(), &*text(&error)), (2, Some(1), expected));
        drop(run);
        assert_eq!(weight(unit.engine()), 1.0);
    };
    check(unit(), "the gradient of the update in step 1 is not finite: its norm is inf");
    let read_at_once = crate::one_weight::unit(0.0).learning_rate(0.125);
    check(
        read_at_once,
        "the gradients of 2 steps are lost: the gradient is not finite: its norm is inf; gradient `weight` is \
         not finite",
    );
}

#[test]
fn a_plateau_of_the_training_loss_does_not_judge_a_loss_that_is_not_finite() {
    let mut unit = unit().reduce_on_plateau(Plateau::min(TRAIN_LOSS).phase(Phase::Train));
    let judged = |unit: &mut Unit| {
        let saved = save_parts(unit).unwrap();
        let own = &saved["auto_unit"];
        (own.array("plateau.best").unwrap().to_vec::<f64>().unwrap(), own.count("plateau.bad").unwrap())
    };
    let error = Run::new(&mut unit).train(&[1.0, NAN], Train::epochs(1)).unwrap_err();
    assert_eq!(text(&error), "the loss of step 1 is not finite: NaN");
    assert_eq!(judged(&mut unit), (vec![], 0));
    Run::new(&mut unit).train(&[1.0], Train::epochs(1)).unwrap();
    assert_eq!(judged(&mut unit), (vec![0.875], 0));
}

#[test]
fn whoever_looks_has_it_told_in_the_next_step_and_once() {
    let mut unit = unit();
    let mut run = Run::new(&mut unit).on(Event::TrainStepEnd, |state: &mut State, _: &mut Unit| {
        let _ = state.metric(TRAIN_LOSS).map(|metric| metric.last_value());
    });
    let data = [1.0, NAN, 1.0, 1.0];
    let error = run.train(&data, Train::epochs(1)).unwrap_err();
    assert_eq!(error.place().step, 2);
    assert_eq!(text(&error), "the loss of step 1 is not finite: NaN");
    let report = run.train(&data, Train::epochs(1)).unwrap();
    assert_eq!((report.ended, report.train.steps), (Ended::Complete, 4));
    drop(run);
    assert_eq!(weight(unit.engine()), 1.0 - 0.375);
}

#[test]
fn what_was_not_told_is_not_saved_and_can_be_replaced_by_what_was_saved() {
    let told = "part `auto_unit`: the loss of step 0 is not finite: NaN";
    let seen = Arc::new(Mutex::new(String::new()));
    let saved = save_parts(&mut unit()).unwrap();
    let saves = seen.clone();
    let mut unit = unit().accumulate(2);
    let mut run = Run::new(&mut unit).on(
        Event::TrainStepEnd,
        move |_: &mut State, unit: &mut Unit| -> Result<(), BoxError> {
            *saves.lock().unwrap() = save_parts(unit).unwrap_err().to_string();
            load_parts(unit, &saved)
        },
    );
    let report = run.train(&[NAN, 1.0], Train::steps(1)).unwrap();
    assert_eq!((report.train.steps, &**seen.lock().unwrap()), (1, told));
    drop(run);
    assert_eq!(weight(unit.engine()), 1.0);
    // Nothing is left of it: the next update is made.
    Run::new(&mut unit).train(&[1.0, 1.0], Train::epochs(1)).unwrap();
    assert_eq!(weight(unit.engine()), 1.0 - 0.125);
}

#[test]
fn a_step_made_again_with_another_weight_makes_no_update_of_nan() {
    let mut fails = true;
    let mut unit =
        unit().after_backward(
            move |_: &mut ToyEngine<_>, _: &mut State| {
                if std::mem::take(&mut fails) { Err("once".into()) } else { Ok(()) }
            },
        );
    let mut run = Run::new(&mut unit);
    assert_eq!(text(&run.train(&[1.0, 1.0], Train::epochs(1)).unwrap_err()), "once");
    // The gradients of the failed step are dropped, and those of this one come in their place.
    run.unit_mut().task_mut().weight = 2.0;
    let error = run.train(&[NAN, 1.0], Train::epochs(1)).unwrap_err();
    assert_eq!(text(&error), "the loss of step 0 is not finite: NaN");
    drop(run);
    assert_eq!(weight(unit.engine()), 1.0 - 0.125);
}

#[test]
fn what_a_call_that_failed_has_not_read_is_told_by_the_next() {
    let mut unit = unit();
    let mut fails = true;
    let mut run = Run::new(&mut unit).on(Event::TrainStepEnd, move |_: &mut State, _: &mut Unit| {
        if std::mem::take(&mut fails) { Err(BoxError::from("once")) } else { Ok(()) }
    });
    let data = [NAN, 1.0];
    assert_eq!(text(&run.train(&data, Train::epochs(1)).unwrap_err()), "once");
    let error = run.train(&data, Train::epochs(1)).unwrap_err();
    assert_eq!(text(&error), "the loss of step 0 is not finite: NaN");
    run.train(&data, Train::epochs(1)).unwrap();
}

#[test]
fn a_policy_that_must_know_acts_at_once() {
    let batches = [1.0, NAN, 2.0];
    let mut skipping = unit().non_finite(NonFinite::Skip);
    let report = Run::new(&mut skipping).train(&batches, Train::epochs(1)).unwrap();
    assert_eq!((report.train.updates, skipping.skipped()), (2, 1));
    assert_eq!(report.metric(TRAIN_LOSS), Some((1.0 + 2.0 * 0.875) / 2.0));
    assert_eq!(weight(skipping.engine()), 1.0 - 0.375);
    let told = "the loss is not finite: NaN; the first output that was not finite is that of `product`";
    check(unit().detect_anomaly(true), &batches, Train::epochs(1), 1, told, 0.875);
    let mut ignoring = unit().non_finite(NonFinite::Ignore);
    Run::new(&mut ignoring).train(&batches, Train::epochs(1)).unwrap();
    assert!(weight(ignoring.engine()).is_nan());
}

#[test]
fn a_batch_of_weight_zero_is_not_looked_at() {
    let mut unit = unit();
    unit.task_mut().weight = 0.0;
    let report = Run::new(&mut unit).fit(&[NAN, 1.0], &[NAN], Fit::epochs(1)).unwrap();
    assert_eq!((report.train.updates, report.metric(TRAIN_LOSS)), (0, None));
}
