//! A pass by hand adds to the log of a training, and removes nothing.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use regimen::callback::Every;
use regimen::checkpoint::Checkpointer;
use regimen::log::MetricLog;
use regimen::metric::Key;
use regimen::run::{Evaluate, Train, Which};
use regimen::saved::{AppState, Parts};
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{BoxError, Run, State};

struct Sum(f64);

impl TrainUnit for Sum {
    type Batch = f64;
    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        self.0 += batch;
        state.log(Key::mean("sum"), self.0, 1.0);
        Ok(())
    }
}

impl EvalUnit for Sum {
    type Batch = f64;
    fn eval_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(Key::mean("distance"), self.0 - batch, 1.0);
        Ok(())
    }
}

impl AppState for Sum {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("sum", &mut self.0)
    }
}

/// A run in a new process, in `dir`.
fn process(dir: &Path, which: Option<Which<'_>>, then: impl FnOnce(&mut Run<'_, Sum>)) {
    let mut unit = Sum(0.0);
    let mut run = Run::new(&mut unit)
        .callback(MetricLog::csv(dir.join("metrics.csv")).every(Every::steps(1)))
        .saver(Checkpointer::new(dir.join("run")).every(Every::steps(1)));
    if let Some(which) = which {
        run.restore(which).unwrap();
    }
    then(&mut run);
}

const DATA: [f64; 9] = [1.0; 9];

fn train(run: &mut Run<'_, Sum>, steps: u64) {
    run.train(&DATA, Train::steps(steps)).unwrap();
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("metrics.csv")).unwrap()
}

#[test]
fn an_evaluation_beside_a_training_leaves_its_log_and_the_training_goes_on() {
    let whole = tempfile::tempdir().unwrap();
    process(whole.path(), None, |run| train(run, 8));
    for restored in [None, Some(Which::Step(2)), Some(Which::Latest)] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        process(dir, None, |run| train(run, 5));
        let before = log(dir);
        process(dir, restored, |run| drop(run.evaluate(&DATA, Evaluate::whole()).unwrap()));
        let after = log(dir);
        let added = after.strip_prefix(&before).unwrap();
        assert_eq!(added.lines().count(), 0, "{added}");
        process(dir, Some(Which::Latest), |run| train(run, 8));
        assert_eq!(log(dir), log(whole.path()));
        assert!(!dir.join("metrics.csv.1").exists());
    }
}

#[test]
fn what_an_evaluation_by_hand_measures_is_written_behind_the_log_of_the_training() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    process(dir, None, |run| train(run, 5));
    let before = log(dir);
    let mut unit = Sum(0.0);
    let log_file = MetricLog::csv(dir.join("metrics.csv")).every(Every::epochs(1));
    Run::new(&mut unit).callback(log_file).evaluate(&[1.0], Evaluate::whole()).unwrap();
    assert_eq!(log(dir), before + "0,eval,distance,-1.0,1\n");
}

#[test]
fn a_training_after_an_evaluation_in_the_same_process_cuts_the_log_back_all_the_same() {
    let (dir, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    process(whole.path(), None, |run| train(run, 8));
    process(dir.path(), None, |run| train(run, 5));
    process(dir.path(), Some(Which::Step(2)), |run| {
        run.evaluate(&DATA, Evaluate::whole()).unwrap();
        train(run, 8);
    });
    assert_eq!(log(dir.path()), log(whole.path()));
}
