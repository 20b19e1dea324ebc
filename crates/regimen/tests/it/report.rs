//! The report at the end of a run: the best values over restarts, and their checkpoints.

#![cfg(feature = "derive")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use std::sync::Arc;

use regimen::callback::{EarlyStopping, Every};
use regimen::checkpoint::{Checkpointer, SimDisk};
use regimen::metric::{Goal, Key};
use regimen::run::{Evaluate, Report, Train, fit};
use regimen::saved::AppState;
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{BoxError, Fit, Run, State};

const LOSS: Key = Key::mean("loss");

/// Ignores training batches; an evaluation batch is the loss.
#[derive(AppState)]
struct Unit {
    steps: u64,
}

impl TrainUnit for Unit {
    type Batch = u64;
    fn train_step(&mut self, _: &mut State, _: u64) -> Result<(), BoxError> {
        self.steps += 1;
        Ok(())
    }
}

impl EvalUnit for Unit {
    type Batch = f64;
    fn eval_step(&mut self, state: &mut State, loss: f64) -> Result<(), BoxError> {
        state.log(LOSS, loss, 1.0);
        Ok(())
    }
}

/// The rules of a run.
#[derive(Clone)]
struct Rules {
    stopping: Option<EarlyStopping>,
    keep_best: Option<Goal>,
    every: Every,
}

const NONE: Rules = Rules { stopping: None, keep_best: None, every: Every::epochs(1) };

/// A process that restores the newest checkpoint of `disk`, and trains one epoch of two steps for
/// each loss.
fn process(disk: &SimDisk, rules: &Rules, losses: &[f64]) -> Report {
    let mut unit = Unit { steps: 0 };
    let mut saver = Checkpointer::new("/run").store(Arc::new(disk.clone()));
    if let Some(goal) = rules.keep_best {
        saver = match goal {
            Goal::Min => saver.keep_min(1, LOSS),
            Goal::Max => saver.keep_max(1, LOSS),
        };
    }
    let mut run = Run::new(&mut unit).saver(saver);
    if let Some(stopping) = &rules.stopping {
        run = run.callback(stopping.clone());
    }
    run.restore_latest().unwrap();
    let done = run.state().train_progress().epochs;
    let fit =
        |(loss, epochs): (&f64, u64)| run.fit(&[1, 2], &[*loss], Fit::epochs(epochs).eval_every(rules.every));
    losses.iter().zip(done + 1..).map(fit).last().unwrap().unwrap()
}

/// Value, epoch, step and checkpoint of the best, with `losses` measured by one process after another.
#[track_caller]
fn check(rules: &Rules, losses: &[&[f64]], expected: Option<(f64, u64, u64, Option<&str>)>) {
    let disk = SimDisk::new();
    let reports: Vec<_> = losses.iter().map(|losses| process(&disk, rules, losses)).collect();
    let report = reports.last().unwrap();
    let best = report.best(LOSS);
    let best = best.map(|best| (best.value, best.epoch, best.train_step, best.checkpoint.as_deref()));
    assert_eq!(best, expected);
}

#[test]
fn the_best_value_is_known_over_restarts_by_the_rules_that_judge_it() {
    let stopping = Rules { stopping: Some(EarlyStopping::min(LOSS, 9)), ..NONE };
    let kept = Rules { keep_best: Some(Goal::Min), ..NONE };
    let both = Rules { stopping: stopping.stopping.clone(), ..kept.clone() };
    let losses: [&[f64]; 3] = [&[5.0, 3.0], &[4.0], &[3.5, 6.0]];
    check(&stopping, &losses, Some((3.0, 2, 4, None)));
    check(&kept, &losses, Some((3.0, 2, 4, Some("/run/step-000000004"))));
    check(&both, &losses, Some((3.0, 2, 4, Some("/run/step-000000004"))));
    check(&NONE, &losses, None);
    // Of equal values the first is the best, and one that is not finite never is.
    let finite = Rules { stopping: Some(EarlyStopping::min(LOSS, 9).check_finite(false)), ..kept };
    let odd: [&[f64]; 2] = [&[f64::NAN, 3.0], &[3.0, f64::NEG_INFINITY]];
    check(&finite, &odd, Some((3.0, 2, 4, Some("/run/step-000000004"))));
}

#[test]
fn the_best_value_may_be_one_that_was_not_judged_better() {
    let rules = |stopping| Rules { stopping: Some(stopping), ..NONE };
    check(
        &rules(EarlyStopping::min(LOSS, 9).min_delta(1.0)),
        &[&[5.0, 4.5], &[6.0]],
        Some((4.5, 2, 4, None)),
    );
    check(&rules(EarlyStopping::max(LOSS, 9).warm_up(1)), &[&[5.0], &[4.5, 4.0]], Some((5.0, 1, 2, None)));
}

#[test]
fn an_evaluation_within_an_epoch_is_of_that_epoch() {
    for keep_best in [None, Some(Goal::Max)] {
        let stopping = Some(EarlyStopping::max(LOSS, 9));
        let rules = Rules { stopping, keep_best, every: Every::steps(3) };
        // Evaluated once, after the first step of the second epoch.
        let checkpoint = keep_best.map(|_| "/run/step-000000003");
        check(&rules, &[&[1.0], &[7.0]], Some((7.0, 2, 3, checkpoint)));
    }
}

#[test]
fn rules_that_want_the_opposite_have_no_best() {
    let rules = Rules { stopping: Some(EarlyStopping::max(LOSS, 9)), keep_best: Some(Goal::Min), ..NONE };
    check(&rules, &[&[5.0, 3.0]], None);
    let report = process(&SimDisk::new(), &rules, &[5.0, 3.0]);
    assert_eq!(report.bests.iter().map(|best| best.value).collect::<Vec<_>>(), [3.0, 5.0]);
}

/// Evaluates to one loss after another.
struct Falling<'a>(std::slice::Iter<'a, f64>);

impl TrainUnit for Falling<'_> {
    type Batch = u64;
    fn train_step(&mut self, _: &mut State, _: u64) -> Result<(), BoxError> {
        Ok(())
    }
}

impl EvalUnit for Falling<'_> {
    type Batch = u64;
    fn eval_step(&mut self, state: &mut State, _: u64) -> Result<(), BoxError> {
        self.0.next().into_iter().for_each(|loss| state.log(LOSS, *loss, 1.0));
        Ok(())
    }
}

#[test]
fn without_a_rule_the_smallest_and_the_largest_of_the_call_are_found() {
    let check = |losses: &[f64], min: Option<u64>, max: Option<u64>| {
        let mut unit = Falling(losses.iter());
        let report = fit(&mut unit, &[1], &[1], Fit::epochs(4)).unwrap();
        let found = [report.min_of_call(LOSS), report.max_of_call(LOSS)];
        assert_eq!(found.map(|epoch| epoch.map(|epoch| epoch.epoch)), [min, max], "{losses:?}");
        assert_eq!(report.best(LOSS), None);
    };
    check(&[2.0, 1.0, 4.0, 3.0], Some(2), Some(3));
    check(&[f64::NAN, 1.0, 1.0, f64::NAN], Some(2), Some(2));
    check(&[f64::NAN, f64::INFINITY], Some(2), Some(2));
    check(&[f64::NAN], None, None);
    check(&[], None, None);
}

#[test]
fn as_text_it_says_how_the_run_ended_what_was_best_and_where_it_is() {
    let disk = SimDisk::new();
    let rules = Rules { stopping: Some(EarlyStopping::min(LOSS, 2)), keep_best: Some(Goal::Min), ..NONE };
    assert_eq!(
        process(&disk, &rules, &[0.5]).to_string(),
        "training complete after 1 epoch, 2 steps\n\
         best loss 0.5000 in epoch 1, at step 2: /run/step-000000002\n\
         saved in /run/step-000000002"
    );
    assert_eq!(
        process(&disk, &rules, &[0.75, 1.0]).to_string(),
        "training finished: early stopping: loss has not improved on 0.5 in 2 checks after 3 epochs, 6 steps\n\
         best loss 0.5000 in epoch 1, at step 2: /run/step-000000002\n\
         saved in /run/step-000000006"
    );
    let mut unit = Unit { steps: 0 };
    let mut run = Run::new(&mut unit);
    let report = run.evaluate(&[0.25], Evaluate::whole()).unwrap();
    assert_eq!(report.to_string(), "evaluation complete: loss 0.2500");
    let report = run.train(&[1, 2], Train::steps(1)).unwrap();
    assert_eq!(report.to_string(), "training complete after 0 epochs, 1 step, 1 of them in an open epoch");
}
