//! The learning-rate monitor: the rates it logs, and when.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use regimen::callback::{Every, LearningRateMonitor};
use regimen::log::MetricLog;
use regimen::metric::Key;
use regimen::run::Train;
use regimen::schedule::{LearningRates, Schedule, StepDecay};
use regimen::state::Phase;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};

/// Two groups; the rate of the first is halved at every second update.
struct Unit(StepDecay, u64);

impl TrainUnit for Unit {
    type Batch = ();
    fn train_step(&mut self, _state: &mut State, (): ()) -> Result<(), BoxError> {
        self.1 += 1;
        Ok(())
    }
}

impl LearningRates for Unit {
    fn learning_rates(&self) -> Vec<(String, f64)> {
        vec![("body".into(), self.0.rate(self.1)), ("head".into(), 0.125)]
    }

    fn scheduled_momentum(&self) -> Option<f64> {
        (self.1 >= 5).then_some(0.875)
    }
}

fn check(monitor: LearningRateMonitor, log: Every, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.csv");
    let mut unit = Unit(StepDecay::new(1.0, 0.5, 2).unwrap(), 0);
    let mut run = Run::new(&mut unit).callback(monitor).callback(MetricLog::csv(&path).every(log));
    run.train(&[(); 4], Train::steps(7)).unwrap();
    let rows = std::fs::read_to_string(path).unwrap();
    let rows: Vec<_> = rows.lines().skip(1).filter(|row| row.contains("body")).collect();
    let rows = rows.iter().map(|row| row.replace(",train,learning_rate/body,", " "));
    assert_eq!(rows.collect::<Vec<_>>().join("; "), expected);
}

#[test]
fn the_rate_logged_is_the_one_the_step_was_made_with() {
    let every_step = Every::steps(1);
    let rates = "1 1.0,; 2 1.0,; 3 0.5,; 4 0.5,; 5 0.25,; 6 0.25,; 7 0.125,";
    check(LearningRateMonitor::new(), every_step, rates);
    check(LearningRateMonitor::new(), Every::steps(3), "3 0.5,; 6 0.25,");
}

#[test]
fn every_epoch_has_a_rate_even_if_nobody_asks() {
    check(LearningRateMonitor::new(), Every::epochs(1), "4 0.5,1");
}

#[test]
fn each_group_has_its_own_name() {
    let mut unit = Unit(StepDecay::new(1.0, 0.5, 2).unwrap(), 0);
    let mut run = Run::new(&mut unit).callback(LearningRateMonitor::new().every(Every::steps(3)));
    run.train(&[(); 4], Train::steps(3)).unwrap();
    let metrics = run.state().metrics(Phase::Train).iter();
    let metrics: Vec<_> = metrics.map(|metric| (metric.key().name(), metric.last_value())).collect();
    assert_eq!(metrics, [("learning_rate/body", 0.5), ("learning_rate/head", 0.125)]);
}

#[test]
fn a_scheduled_momentum_stands_beside_the_rates() {
    let mut unit = Unit(StepDecay::new(1.0, 0.5, 2).unwrap(), 5);
    let mut run = Run::new(&mut unit).callback(LearningRateMonitor::new().every(Every::steps(1)));
    run.train(&[()], Train::steps(1)).unwrap();
    assert_eq!(run.state().metric(Key::last("momentum")).unwrap().last_value(), 0.875);
}
