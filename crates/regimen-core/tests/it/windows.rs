//! Accumulation windows: their members and their ends.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::mem;

use crate::weighted::{Engine, Unit, moved, unit, weight};
use regimen_core::auto_unit::{NonFinite, TRAIN_LOSS, TRAIN_SKIPPED, Unreached};
use regimen_core::run::{Ended, Train};
use regimen_core::saved::{load_parts, save_parts};
use regimen_core::{AutoUnit, BoxError, Fit, Loss, Run, State, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyOptimizer, ToyVars};

/// Trains on `batches` for an epoch with windows of each length, and compares the change of the weight
/// with `expected`.
#[track_caller]
fn check_moves(batches: &[(f64, f64)], expected: [f64; 3]) {
    let by = |accumulate| {
        moved(&mut unit().accumulate(accumulate), |unit| {
            Run::new(unit).train(batches, Train::epochs(1)).unwrap();
        })
    };
    assert_eq!([by(1), by(2), by(3)], expected);
}

#[test]
fn a_batch_of_weight_zero_is_in_no_window() {
    check_moves(&[(0.5, 0.0), (0.5, 0.0)], [0.0; 3]);
    check_moves(&[(0.5, 4.0), (f64::NAN, 0.0)], [0.5; 3]);
    check_moves(&[(f64::INFINITY, 0.0), (0.5, 4.0), (0.25, 0.0)], [0.5; 3]);
    check_moves(&[(0.5, 3.0), (f64::NAN, 0.0), (1.0, 1.0)], [1.5, 1.5, 0.625]);
}

#[test]
fn a_window_that_weighs_nothing_makes_no_update_and_no_loss() {
    for accumulate in [1, 2] {
        let mut unit = unit().accumulate(accumulate);
        let report = Run::new(&mut unit).train(&[(f64::NAN, 0.0); 4], Train::epochs(1)).unwrap();
        assert_eq!((report.train.steps, report.train.updates), (4, 0));
        assert_eq!(report.metric(TRAIN_LOSS), None);
    }
}

/// Trains `first` in the middle of a window of `before` steps, restarts with windows of `after`, and
/// compares the total change of the weight.
#[track_caller]
fn check_restart(before: u64, steps: u64, after: u64, expected: f64) {
    let data = [(0.25, 8.0), (0.5, 8.0), (1.0, 8.0), (0.25, 8.0)];
    let mut first = unit().accumulate(before);
    let start = weight(&first);
    let mut run = Run::new(&mut first);
    let report = run.train(&data, Train::steps(steps)).unwrap();
    assert_eq!(report.pending_steps, steps % before);
    let (state, parts) = (run.run_state().unwrap(), save_parts(run.unit_mut()).unwrap());
    let mut second = unit().accumulate(after);
    load_parts(&mut second, &parts).unwrap();
    let mut run = Run::new(&mut second);
    run.load_run_state(&state).unwrap();
    run.train(&data, Train::epochs(1)).unwrap();
    drop(run);
    assert_eq!(((start - weight(&second)) * 1e9).round() / 1e9, expected);
}

#[test]
fn a_window_of_another_length_after_a_restart_is_divided_by_what_it_holds() {
    // Of one step, then each by itself: (0.25 + 0.5) / 2 + 1 + 0.25.
    check_restart(2, 1, 1, 1.625);
    // Three, and the rest of the epoch: (0.25 + 0.5 + 1) / 3 + 0.25.
    check_restart(2, 1, 3, 0.833333333);
    check_restart(3, 2, 2, 0.833333333);
    check_restart(4, 3, 1, 0.5);
    check_restart(1, 1, 3, 0.833333333);
}

#[test]
fn a_window_ends_with_its_epoch_also_where_that_is_shorter_now() {
    let mut unit = unit().accumulate(4);
    let moved = moved(&mut unit, |unit| {
        let mut run = Run::new(unit);
        run.train(&[(0.5, 1.0); 8], Train::steps(2)).unwrap();
        let report = run.train(&[(0.5, 1.0); 8], Train::epochs(1).steps_per_epoch(2)).unwrap();
        assert_eq!((report.train.epochs, report.train.updates, report.pending_steps), (1, 1, 0));
    });
    assert_eq!(moved, 0.5);
}

#[test]
fn a_window_never_goes_into_another_run() {
    let mut unit = unit().accumulate(2);
    let report = Run::new(&mut unit).train(&[(100.0, 1.0); 4], Train::steps(3)).unwrap();
    assert_eq!(report.pending_steps, 1);
    let moved = moved(&mut unit, |unit| {
        let report = Run::new(unit).train(&[(0.5, 1.0); 2], Train::epochs(1)).unwrap();
        let told = "the gradients of 1 step are dropped: another run left them without an update";
        assert_eq!(report.notices, [told]);
    });
    assert_eq!(moved, 0.5);
}

/// The gradient of the step after `n` is NaN behind a finite loss, as that of the square root of 0 is.
fn nan_gradient(unit: Unit, n: u64) -> Unit {
    unit.after_backward(move |engine: &mut Engine, state: &mut State| {
        match state.train_progress().steps == n {
            true => regimen_core::engine::Engine::scale_gradients(engine, f64::NAN),
            false => Ok(()),
        }
    })
}

#[test]
fn weights_that_are_not_finite_never_end_in_complete() {
    let mut poisoned = nan_gradient(unit(), 2);
    let error = Run::new(&mut poisoned).train(&[(0.1, 1.0); 3], Train::epochs(1)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "unit failed in on_train_end in train at epoch 1 step 3: the weights are not finite after the last \
         update: `w`; go on from a checkpoint, and find the cause with `detect_anomaly`"
    );
    let mut ignored = nan_gradient(unit().non_finite(NonFinite::Ignore), 2);
    Run::new(&mut ignored).train(&[(0.1, 1.0); 3], Train::epochs(1)).unwrap();
}

#[test]
fn a_skipped_step_is_not_in_the_mean_and_is_a_metric() {
    let start = weight(&unit());
    for (n, bad) in [(9, f64::NAN), (1, 2.0)] {
        let mut unit = nan_gradient(unit().learning_rate(0.0).non_finite(NonFinite::Skip), n);
        let data = [(1.0, 1.0), (bad, 1.0), (3.0, 1.0)];
        let report = Run::new(&mut unit).train(&data, Train::epochs(1)).unwrap();
        let metrics = [TRAIN_LOSS, TRAIN_SKIPPED].map(|key| report.metric(&key));
        assert_eq!(metrics, [Some((start + 3.0 * start) / 2.0), Some(1.0)]);
    }
}

#[test]
fn many_skipped_updates_in_a_row_are_a_notice_and_then_an_error() {
    let mut unit = unit().learning_rate(0.0).non_finite(NonFinite::Skip).skip_limit(20);
    let mut run = Run::new(&mut unit);
    let told = "2 updates in a row were skipped, because loss or gradient was not finite";
    let data: Vec<(f64, f64)> = (0..40).map(|n| (if n == 10 { 1.0 } else { f64::NAN }, 1.0)).collect();
    let report = run.train(&data, Train::steps(30)).unwrap();
    assert_eq!(report.notices, [told, told]);
    let error = run.train(&data, Train::steps(40)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "unit failed in train_step in train at epoch 0 step 31: more than 20 updates in a row were skipped, \
         because loss or gradient was not finite; find the cause with `detect_anomaly`, or raise `skip_limit`"
    );
    // The step has not happened, and so it fails again.
    assert_eq!(
        run.train(&data, Train::steps(40)).map_err(|error| format!("{error:#}")).unwrap_err(),
        format!("{error:#}")
    );
}

#[test]
fn what_differs_from_the_settings_of_a_checkpoint_is_told_when_training_starts() {
    let mut first = unit().accumulate(2).clip_norm(5.0);
    Run::new(&mut first).train(&[(0.5, 1.0); 4], Train::epochs(1)).unwrap();
    let parts = save_parts(&mut first).unwrap();
    let mut second = unit().learning_rate(0.5).clip_value(3.0);
    load_parts(&mut second, &parts).unwrap();
    let mut run = Run::new(&mut second);
    let report = run.train(&[(0.5, 1.0)], Train::epochs(1)).unwrap();
    assert_eq!(
        report.notices,
        [
            "`accumulate` is 1 now, and was 2 in the checkpoint",
            "`clip_norm` is not set now, and was 5 in the checkpoint",
            "`clip_value` is 3 now, and was not set in the checkpoint",
            "the learning rate of `default` was 1 at update 2, and would be 0.5 now",
        ]
    );
    assert!(run.train(&[(0.5, 1.0)], Train::epochs(2)).unwrap().notices.is_empty());
}

/// Trains with a hook that fails at its `n`-th call, continues, and compares the change of the weight.
#[track_caller]
fn check_failing_hook(at: fn(Unit, Hook) -> Unit, n: u64, panics: bool) {
    let data = [(1.0, 1.0), (2.0, 3.0), (4.0, 1.0), (8.0, 5.0)];
    let train = |unit: Unit, calls: usize| {
        let mut unit = unit.accumulate(2).clip_norm(3.0).clip_value(2.5);
        let moved = moved(&mut unit, |unit| {
            let mut run = Run::new(unit);
            for _ in 1..calls {
                run.train(&data, Train::epochs(1)).unwrap_err();
            }
            let report = run.train(&data, Train::epochs(1)).unwrap();
            assert_eq!((report.ended, report.train.steps, report.train.updates), (Ended::Complete, 4, 2));
        });
        (moved, save_parts(&mut unit).unwrap()["auto_unit"].clone())
    };
    let mut calls = 0;
    let hook = move |_: &mut Engine, _: &mut State| -> Result<(), BoxError> {
        calls += 1;
        match calls == n {
            false => Ok(()),
            true if panics => panic!("once"),
            true => Err("once".into()),
        }
    };
    assert_eq!(train(at(unit(), Box::new(hook)), 2), train(unit(), 1), "call {n}");
}

type Hook = Box<dyn FnMut(&mut Engine, &mut State) -> Result<(), BoxError> + Send>;

#[test]
fn after_a_hook_that_failed_the_step_is_made_as_if_it_had_not() {
    for panics in [false, true] {
        for n in 1..=4 {
            check_failing_hook(|unit, hook| unit.after_backward(hook), n, panics);
        }
        for n in 1..=2 {
            check_failing_hook(|unit, hook| unit.before_update(hook), n, panics);
        }
    }
}

#[test]
fn another_batch_in_place_of_one_that_failed_begins_the_window_anew() {
    let mut failed = false;
    let mut unit = unit().accumulate(2).after_backward(move |_, state: &mut State| {
        match state.train_progress().steps == 1 && !mem::replace(&mut failed, true) {
            true => Err("once".into()),
            false => Ok(()),
        }
    });
    let moved = moved(&mut unit, |unit| {
        let mut run = Run::new(unit);
        run.train(&[(1.0, 1.0), (2.0, 1.0), (0.0, 1.0)], Train::epochs(1)).unwrap_err();
        run.train(&[(1.0, 1.0), (16.0, 1.0), (0.0, 1.0)], Train::epochs(1)).unwrap();
    });
    assert_eq!(moved, 8.0);
}

#[test]
fn a_step_that_fails_behind_its_update_is_counted() {
    let data = [(1.0, 1.0), (2.0, 1.0)];
    for (accumulate, updates, expected) in [(1, 2, 3.0), (2, 1, 1.5)] {
        let mut unit = unit().accumulate(accumulate);
        unit.task_mut().fails_once = true;
        let moved = moved(&mut unit, |unit| {
            let mut run = Run::new(unit);
            let error = run.train(&data, Train::epochs(1)).unwrap_err();
            assert_eq!(
                format!("{error:#}"),
                "unit failed in train_step in train at epoch 0 step 0: a metric failed"
            );
            assert_eq!(run.state().train_progress().steps, 1);
            let report = run.train(&data, Train::epochs(1)).unwrap();
            assert_eq!((report.train.steps, report.train.updates), (2, updates));
        });
        assert_eq!(moved, expected);
    }
}

#[test]
fn an_evaluation_batch_of_weight_zero_is_not_looked_at() {
    let mut unit = unit();
    let report = Run::new(&mut unit).fit(&[(0.0, 1.0)], &[(1.0, 4.0), (f64::NAN, 0.0)], Fit::epochs(1));
    let loss = report.unwrap().metric(regimen_core::auto_unit::EVAL_LOSS);
    assert_eq!(loss, Some(weight(&unit)));
}

/// Trains a module whose loss depends on one of two weights, from the step `from` on also on the other.
/// Returns the notices, or the error.
fn cut(policy: Unreached, accumulate: u64, from: u64) -> Result<Vec<String>, String> {
    struct Cut(u64);
    impl Task<ToyEngine<[ToyArray; 2]>> for Cut {
        type Batch = f64;
        type Output = ();
        fn compute_loss(
            &mut self,
            step: &Step,
            [used, cut]: &[ToyArray; 2],
            slope: &f64,
        ) -> Result<(Loss<ToyArray>, ()), BoxError> {
            let used = used.scale(*slope);
            let sum = if step.index < self.0 { used } else { used.add(cut) };
            Ok((Loss::mean(sum.mean(), 1.0), ()))
        }
    }
    let mut vars = ToyVars::new();
    let module = [vars.parameter("used", &[1], 1.0), vars.parameter("cut", &[1], 1.0)];
    let engine = ToyEngine::new(vars, module, ToyOptimizer::sgd(0.0));
    let mut unit = AutoUnit::new(engine, Cut(from)).accumulate(accumulate).unreached(policy);
    let mut run = Run::new(&mut unit);
    // A dry run uses up nothing.
    let _ = run.dry_run(|mut dry| dry.train(&[1.0; 4], Train::epochs(2)).map(drop));
    let report = run.train(&[1.0; 4], Train::epochs(2));
    report.map(|report| report.notices).map_err(|error| format!("{error:#}"))
}

#[test]
fn a_parameter_that_no_gradient_reaches_in_the_first_window_is_told_once_or_refused() {
    let text = "no gradient has reached `cut`: the loss does not depend on it, or its graph is cut; freeze what \
                is not to be trained";
    assert_eq!(cut(Unreached::Notice, 1, 99), Ok(vec![text.to_owned()]));
    assert_eq!(cut(Unreached::Notice, 2, 2), Ok(vec![text.to_owned()]));
    assert_eq!(cut(Unreached::Notice, 2, 1), Ok(vec![]));
    assert_eq!(cut(Unreached::Ignore, 1, 99), Ok(vec![]));
    assert_eq!(cut(Unreached::Error, 1, 0), Ok(vec![]));
    let place = "unit failed in train_step in train at epoch 0 step 0";
    assert_eq!(cut(Unreached::Error, 1, 99), Err(format!("{place}: {text}")));
}
