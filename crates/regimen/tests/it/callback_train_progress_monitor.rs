//! The monitor of the progress of training: the counts it logs, and when.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use regimen::callback::{Every, TrainProgressMonitor};
use regimen::data::DataExt;
use regimen::log::MetricLog;
use regimen::run::Train;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};

/// Makes an update at every second step.
struct Unit;

impl TrainUnit for Unit {
    type Batch = u64;
    fn train_step(&mut self, state: &mut State, _: u64) -> Result<(), BoxError> {
        if state.train_progress().steps % 2 == 1 {
            state.count_update();
        }
        Ok(())
    }
}

#[track_caller]
fn check(log: Every, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.csv");
    let mut run =
        Run::new(&mut Unit).callback(TrainProgressMonitor::new()).callback(MetricLog::csv(&path).every(log));
    run.train(&[5, 6, 7].count_samples(|&samples| samples), Train::steps(4)).unwrap();
    let rows = std::fs::read_to_string(path).unwrap();
    let rows = rows.lines().skip(1).map(|row| row.replace(",train,progress/", " ").replace(',', " "));
    assert_eq!(rows.collect::<Vec<_>>().join("; "), expected);
}

#[test]
fn each_step_has_its_counts_and_an_epoch_counts_itself() {
    check(
        Every::steps(2).or(Every::epochs(1)),
        "2 epochs 0.0 ; 2 steps 2.0 ; 2 updates 1.0 ; 2 samples 11.0 ; 3 epochs 1.0 1; 3 steps 3.0 1; \
         3 updates 1.0 1; 3 samples 18.0 1; 4 epochs 1.0 ; 4 steps 4.0 ; 4 updates 2.0 ; 4 samples 23.0 ",
    );
}
