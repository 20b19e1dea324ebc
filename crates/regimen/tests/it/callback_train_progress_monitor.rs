//! The monitor of the progress of training: the counts it logs, and when.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use std::sync::Mutex;

use regimen::callback::{Every, TrainProgressMonitor};
use regimen::data::DataExt;
use regimen::log::{MetricLog, Record};
use regimen::run::{Evaluate, Train};
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{BoxError, Fit, Run, State};

/// A batch whose step fails.
const BROKEN: u64 = 13;

/// Makes an update at every second step.
struct Unit;

impl TrainUnit for Unit {
    type Batch = u64;
    fn train_step(&mut self, state: &mut State, batch: u64) -> Result<(), BoxError> {
        if batch == BROKEN {
            return Err("told to fail".into());
        }
        if state.train_progress().steps % 2 == 1 {
            state.count_update();
        }
        Ok(())
    }
}

impl EvalUnit for Unit {
    type Batch = u64;
    fn eval_step(&mut self, _: &mut State, _: u64) -> Result<(), BoxError> {
        Ok(())
    }
}

#[track_caller]
fn check(log: Every, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.csv");
    let mut unit = Unit;
    let mut run =
        Run::new(&mut unit).callback(TrainProgressMonitor::new()).callback(MetricLog::csv(&path).every(log));
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

/// Logs the samples of `run` to `told`, by step, phase and epoch.
fn start<'a>(run: Run<'a, Unit>, told: &'a Mutex<Vec<String>>) -> Run<'a, Unit> {
    let write = |records: &[Record<'_>]| {
        let samples = records.iter().filter(|record| record.name == "progress/samples");
        for Record { step, phase, value, epoch, .. } in samples {
            let epoch = epoch.map(|epoch| format!(" epoch {epoch}")).unwrap_or_default();
            told.lock().unwrap().push(format!("{step} {phase}{epoch}: {value}"));
        }
        Ok(())
    };
    let log = MetricLog::to(write).every(Every::steps(1).or(Every::epochs(1)));
    run.callback(TrainProgressMonitor::new()).callback(log)
}

#[test]
fn a_restart_goes_on_in_its_counts_and_neither_an_evaluation_nor_a_failed_step_counts() {
    let told = Mutex::new(Vec::new());
    let data = |batches: &'static [u64]| batches.count_samples(|&samples| samples);
    let mut unit = Unit;
    let mut run = start(Run::new(&mut unit), &told);
    run.train(&data(&[5, 6, 7]), Train::steps(0)).unwrap();
    run.train(&data(&[5, 6, 7]), Train::steps(1)).unwrap();
    run.train(&data(&[5, BROKEN, 7]), Train::epochs(1)).unwrap_err();
    run.evaluate(&[1], Evaluate::whole()).unwrap();
    let saved = run.run_state().unwrap();
    drop(run);
    let mut unit = Unit;
    let mut run = start(Run::new(&mut unit), &told);
    run.load_run_state(&saved).unwrap();
    run.fit(&data(&[5, 6, 7]), &[1], Fit::epochs(1)).unwrap();
    drop(run);
    let expected = ["1 train: 5", "2 train: 11", "3 train: 18", "3 train epoch 1: 18"];
    assert_eq!(told.into_inner().unwrap(), expected);
}
