//! Rules on the values of metrics: what is judged, and what follows.

use std::sync::{Arc, Mutex};

use regimen::callback::{Event, Every};
use regimen::log::{AnomalyLog, AnomalyRule, Record};
use regimen::metric::Key;
use regimen::run::{Report, Train};
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{BoxError, Error, Fit, Run, State};

const LOSS: Key = Key::mean("loss");

/// A batch whose step fails.
const BROKEN: f64 = 13.0;

/// Logs its batch.
struct Unit;

impl TrainUnit for Unit {
    type Batch = f64;
    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(LOSS, batch, 1.0);
        if batch == BROKEN { Err("told to fail".into()) } else { Ok(()) }
    }
}

impl EvalUnit for Unit {
    type Batch = f64;
    fn eval_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(Key::mean("eval/loss"), batch, 1.0);
        Ok(())
    }
}

fn fit(rule: AnomalyRule, batches: &[f64]) -> Result<Report, Error> {
    let log = AnomalyLog::new().every(Every::steps(1).or(Every::epochs(1))).rule(rule);
    Run::new(&mut Unit).callback(log).fit(batches, &[100.0], Fit::epochs(1))
}

#[track_caller]
fn notices(rule: AnomalyRule, batches: &[f64], expected: &[&str]) {
    let mut notices = fit(rule, batches).unwrap().notices;
    notices.iter_mut().for_each(|notice| *notice = notice.replace("anomaly: ", ""));
    assert_eq!(notices, expected);
}

#[test]
fn the_first_of_anomalies_in_a_row_is_a_notice() {
    let nan = f64::NAN;
    let inf = f64::INFINITY;
    let above = || AnomalyRule::above(LOSS, 2.0);
    notices(above(), &[1.0, 2.0], &[]);
    notices(
        above(),
        &[3.0, 4.0, -9.0, 5.0, -9.0],
        &["`loss` is 3, above 2 in step 1", "`loss` is 5, above 2 in step 4"],
    );
    notices(above(), &[nan], &["`loss` is NaN in step 1", "`loss` is NaN over train epoch 1"]);
    notices(above().warm_up(2), &[3.0, 3.0, 3.0, -9.0], &["`loss` is 3, above 2 in step 3"]);
    notices(above().warm_up(4), &[3.0, 3.0, 3.0, 3.0], &[]);
    let below = || AnomalyRule::below(LOSS, -1.0);
    notices(below(), &[-1.0, inf, -2.0, 0.0], &["`loss` is -2, below -1 in step 3"]);
    notices(below(), &[nan], &["`loss` is NaN in step 1", "`loss` is NaN over train epoch 1"]);
    let not_finite = || AnomalyRule::not_finite(LOSS);
    notices(not_finite(), &[1e308, 0.0], &[]);
    notices(
        not_finite(),
        &[1.0, -inf, nan, 1.0],
        &["`loss` is -inf in step 2", "`loss` is NaN over train epoch 1"],
    );
    let of_eval = AnomalyRule::above(Key::mean("eval/loss"), 99.0);
    notices(of_eval, &[1.0], &["`eval/loss` is 100, above 99 over eval epoch 1"]);
}

#[test]
fn a_rule_pauses_the_run_or_ends_it_for_good() {
    let report = fit(AnomalyRule::above(LOSS, 2.0).pause(), &[1.0, 3.0, 1.0]).unwrap();
    assert_eq!(
        (report.ended.to_string(), report.train.steps),
        ("paused: anomaly: `loss` is 3, above 2 in step 2".to_owned(), 2)
    );
    let report = fit(AnomalyRule::not_finite(LOSS).finish(), &[1.0, f64::NAN, 1.0]).unwrap();
    assert_eq!(
        (report.ended.to_string(), report.train.steps),
        ("finished: anomaly: `loss` is NaN in step 2".to_owned(), 2)
    );
}

#[test]
fn a_closure_is_given_every_anomaly_and_its_error_is_one_of_the_run() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let rule = AnomalyRule::above(LOSS, 2.0).call(move |anomaly: &Record<'_>, _: &mut State| {
        seen.lock().unwrap().push((anomaly.step, anomaly.value, anomaly.epoch));
    });
    assert_eq!(fit(rule, &[3.0, 4.0, 1.0]).unwrap().notices, [""; 0]);
    assert_eq!(*told.lock().unwrap(), [(1, 3.0, None), (2, 4.0, None), (3, 8.0 / 3.0, Some(1))]);

    let fails = |_: &Record<'_>, _: &mut State| -> Result<(), BoxError> { Err("too large".into()) };
    let error = fit(AnomalyRule::above(LOSS, 2.0).call(fails), &[1.0, 3.0]).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "callback AnomalyLog failed at train step end in train at epoch 0 step 2: too large"
    );
}

#[test]
fn several_rules_judge_one_metric() {
    let log = AnomalyLog::new()
        .every(Every::steps(1))
        .rule(AnomalyRule::above(LOSS, 2.0))
        .rule(AnomalyRule::above(LOSS, 3.0))
        .rule(AnomalyRule::below(LOSS, 0.0));
    let report = Run::new(&mut Unit).callback(log).train(&[2.5, 4.0, -1.0], Train::epochs(1)).unwrap();
    assert_eq!(
        report.notices,
        [
            "anomaly: `loss` is 2.5, above 2 in step 1",
            "anomaly: `loss` is 4, above 3 in step 2",
            "anomaly: `loss` is -1, below 0 in step 3",
        ]
    );
}

#[test]
fn a_rule_that_judges_nothing_is_told_and_a_threshold_of_nan_is_refused() {
    let idle = "anomaly log: `los` was not logged, so its rule judged nothing; is its name right?";
    notices(AnomalyRule::not_finite(Key::mean("los")), &[1.0], &[idle]);
    // A run that is stopped may come to it later.
    let report = {
        let mut unit = Unit;
        let log = AnomalyLog::new().rule(AnomalyRule::not_finite(Key::mean("los")));
        let mut run = Run::new(&mut unit)
            .callback(log)
            .on(Event::TrainStepEnd, |state: &mut State, _: &mut Unit| state.pause("told to"));
        run.train(&[1.0, 1.0], Train::epochs(1)).unwrap()
    };
    assert_eq!(report.notices, [""; 0]);
    let error = fit(AnomalyRule::below(LOSS, f64::NAN), &[1.0]).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "callback AnomalyLog failed at train start in train at epoch 0 step 0: \
         anomaly log: the threshold for `loss` is NaN; give a number"
    );
}

#[test]
fn a_metric_of_a_callback_that_is_added_later_is_judged_too() {
    let late = Key::last("late");
    let rules = AnomalyLog::new().every(Every::steps(1)).rule(AnomalyRule::above(late.clone(), 1.0));
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(rules).on(
        Event::TrainStepEnd,
        move |state: &mut State, _: &mut Unit| {
            state.log(late.clone(), state.train_progress().steps as f64, 1.0);
        },
    );
    let report = run.train(&[0.0, 0.0], Train::epochs(1)).unwrap();
    assert_eq!(report.notices, ["anomaly: `late` is 2, above 1 in step 2"]);
}

#[test]
fn a_restart_counts_the_steps_before_it_and_neither_a_failed_step_nor_none_is_judged() {
    let rule = || AnomalyRule::above(LOSS, 2.0).warm_up(2);
    let log = || AnomalyLog::new().every(Every::steps(1).or(Every::epochs(1))).rule(rule());
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(log());
    assert_eq!(
        run.train(&[9.0, 9.0, 9.0], Train::steps(0)).unwrap().notices,
        ["anomaly log: `loss` was not logged, so its rule judged nothing; is its name right?"]
    );
    assert_eq!(run.train(&[9.0, 9.0, 9.0], Train::steps(1)).unwrap().notices, [""; 0]);
    let saved = run.run_state().unwrap();
    drop(run);
    let mut run = Run::new(&mut unit).callback(log());
    run.load_run_state(&saved).unwrap();
    assert_eq!(run.train(&[9.0, 9.0, 9.0], Train::steps(2)).unwrap().notices, [""; 0]);
    // The third step logs a value and fails.
    let error = run.train(&[9.0, 9.0, BROKEN], Train::epochs(1)).unwrap_err();
    assert_eq!(error.place().step, 2);
    let report = run.fit(&[9.0, 9.0, 9.0], &[1.0], Fit::epochs(1)).unwrap();
    let expected =
        ["anomaly: `loss` is 9, above 2 in step 3", "anomaly: `loss` is 9, above 2 over train epoch 1"];
    assert_eq!(report.notices, expected);
}
