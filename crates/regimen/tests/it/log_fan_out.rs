//! One log with several destinations: what each is given, failures of one, and a restart.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use regimen::callback::Every;
use regimen::log::{FanOut, MemoryLog, MetricLog, OnFailure, Record};
use regimen::metric::{Histogram, Key};
use regimen::run::Train;
use regimen::saved::StateDict;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};
use regimen_test::event_files::{read_events, scalars};

struct Unit;

impl TrainUnit for Unit {
    type Batch = f64;
    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(Key::mean("loss"), batch, 1.0);
        state.log(Key::mean("hidden"), batch, 1.0);
        state.log_media("weights", Histogram::of(&[batch]));
        Ok(())
    }
}

const DATA: [f64; 4] = [1.0, 2.0, 4.0, 8.0];

/// A training up to `steps`, restored from `saved`, with its notices and its state at the end.
fn train(
    log: MetricLog<FanOut>,
    saved: Option<&StateDict>,
    steps: u64,
) -> Result<(Vec<String>, StateDict), String> {
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(log);
    saved.into_iter().for_each(|saved| run.load_run_state(saved).unwrap());
    let report = run.train(&DATA, Train::steps(steps)).map_err(|error| format!("{error:#}"))?;
    Ok((report.notices, run.run_state().unwrap()))
}

fn files(dir: &Path) -> MetricLog<FanOut> {
    MetricLog::fan_out()
        .and(MetricLog::csv(dir.join("a.csv")).every(Every::NEVER))
        .and(MetricLog::csv(dir.join("b/a.csv")))
        .and(MetricLog::tensorboard(dir.join("board")))
        .every(Every::steps(2))
        .only(|name| name != "hidden")
}

#[test]
fn each_destination_has_the_records_of_one_cadence_and_filter_after_a_restart_too() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, saved) = train(files(dir), None, 2).unwrap();
    // Lost: it was written behind the checkpoint.
    train(files(dir), Some(&saved), 3).unwrap();
    let (notices, _) = train(files(dir), Some(&saved), 4).unwrap();
    assert_eq!(notices, [""; 0]);
    for file in ["a.csv", "b/a.csv"] {
        let rows = fs::read_to_string(dir.join(file)).unwrap();
        assert_eq!(rows, "step,phase,name,value,epoch\n2,train,loss,2.0,\n4,train,loss,8.0,\n", "{file}");
    }
    let events = read_events(dir.join("board")).unwrap();
    let points = scalars(&events);
    assert_eq!((points.len(), &points["loss"][..]), (1, &[(2, 2.0), (4, 8.0)][..]));
}

#[test]
fn a_log_that_a_restored_run_has_in_addition_begins_anew_with_a_notice() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_, saved) = train(files(dir), None, 2).unwrap();
    let memory = MemoryLog::new();
    let log = files(dir).and(MetricLog::to(memory.clone()));
    let (notices, _) = train(log, Some(&saved), 4).unwrap();
    assert_eq!(notices, ["log MetricLog(memory) 1 begins anew: no state of it was saved"]);
    assert_eq!(memory.step_values("loss"), [(4, 8.0)]);
    let rows = fs::read_to_string(dir.join("a.csv")).unwrap();
    assert_eq!(rows.lines().count(), 3);
}

#[test]
fn a_failure_of_one_keeps_nothing_from_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let fails = |_: &[Record<'_>]| -> Result<(), BoxError> { Err("told to fail".into()) };
    let log = |memory: &MemoryLog| {
        MetricLog::fan_out()
            .and(MetricLog::to(fails))
            .and(MetricLog::to(memory.clone()))
            .and(MetricLog::csv(dir.path().join("log.csv/")))
            .every(Every::steps(1))
    };
    fs::create_dir(dir.path().join("log.csv")).unwrap();
    let memory = MemoryLog::new();
    let (notices, _) = train(log(&memory).on_failure(OnFailure::Notice), None, 2).unwrap();
    let path = dir.path().join("log.csv/");
    let closed = format!(
        "MetricLog(log.csv): cannot open the log {}: Is a directory (os error 21); check its folder and the space \
         there, or log elsewhere; until then, metrics are missing in it",
        path.display()
    );
    let both = format!("MetricLog(closure): told to fail; {closed}");
    assert_eq!(notices, [closed, both]);
    assert_eq!(memory.step_values("loss"), [(1, 1.0), (2, 2.0)]);

    fs::remove_dir(dir.path().join("log.csv")).unwrap();
    let memory = MemoryLog::new();
    let log = MetricLog::fan_out()
        .and(MetricLog::to(fails))
        .and(MetricLog::to(memory.clone()))
        .and(MetricLog::to(fails))
        .every(Every::steps(1));
    assert_eq!(
        train(log, None, 2).unwrap_err(),
        "callback MetricLog(fan-out) failed at train step end in train at epoch 0 step 1: \
         MetricLog(closure): told to fail; MetricLog(closure): told to fail"
    );
    assert_eq!(memory.step_values("loss"), [(1, 1.0)]);
}

#[test]
fn a_log_keeps_its_policy_and_each_failure_is_told_once() {
    let fails_from = |step: u64| {
        move |records: &[Record<'_>]| -> Result<(), BoxError> {
            if records.iter().any(|record| record.step >= step) {
                Err(format!("failed at {step}").into())
            } else {
                Ok(())
            }
        }
    };
    let lenient = |step| MetricLog::to(fails_from(step)).on_failure(OnFailure::Notice);
    let log = MetricLog::fan_out().and(lenient(1)).and(lenient(2)).every(Every::steps(1));
    let (notices, _) = train(log, None, 4).unwrap();
    let told =
        |step: u64| format!("MetricLog(closure): failed at {step}; until then, metrics are missing in it");
    assert_eq!(notices, [told(1), told(2)]);

    // The policy of the fan-out counts for logs without a lenient one.
    let strict = |step| MetricLog::to(fails_from(step));
    let log = MetricLog::fan_out().and(strict(1)).and(strict(3)).every(Every::steps(1));
    let (notices, _) = train(log.on_failure(OnFailure::Notice), None, 4).unwrap();
    let both = "MetricLog(closure): failed at 1; MetricLog(closure): failed at 3; until then, metrics are missing in it";
    assert_eq!(notices, [told(1), both.to_owned()]);
}
