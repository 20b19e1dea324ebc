//! A run that another process pauses by a file, and that goes on after it.
#![cfg(feature = "derive")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use regimen::callback::{Event, Every};
use regimen::folder::RunFolder;
use regimen::metric::Key;
use regimen::run::{Ended, Report, Train};
use regimen::saved::AppState;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};

#[derive(AppState)]
struct Sum(f64);

impl TrainUnit for Sum {
    type Batch = f64;
    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        self.0 = (self.0 + batch).sin();
        state.log(Key::mean("loss"), self.0, 1.0);
        Ok(())
    }
}

const STEPS: u64 = 300;

/// Trains in `dir` up to 300 steps. Before the fifth step `file` is made, and steps then take 10 ms.
fn train(dir: &Path, file: Option<&Path>) -> (Report, f64) {
    let data: Vec<f64> = (0..70).map(f64::from).collect();
    let mut unit = Sum(0.0);
    let run = Run::new(&mut unit).on(Event::TrainStepStart, |state: &mut State, _: &mut Sum| {
        let Some(file) = file else { return };
        if state.train_progress().steps == 4 {
            fs::write(file, "").unwrap();
        }
        sleep(Duration::from_millis(10));
    });
    let folder = RunFolder::new(dir).metrics_every(Every::steps(1).or(Every::epochs(1)));
    let mut run = folder.open(run).unwrap();
    let report = run.train(&data, Train::steps(STEPS)).unwrap();
    drop(run);
    (report, unit.0)
}

#[test]
fn a_run_that_is_paused_by_a_file_is_saved_and_goes_on_to_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, paused) = (dir.path().join("whole"), dir.path().join("paused"));
    let (_, expected) = train(&whole, None);
    let file = paused.join("PAUSE");
    let (report, _) = train(&paused, Some(&file));
    assert_eq!(report.ended, Ended::Paused(format!("{} was created", file.display())));
    assert!(!file.exists());
    let saved = paused.join(format!("step-{:09}", report.train.steps));
    assert_eq!(report.saved, Some(saved.display().to_string()));
    assert!((5..STEPS).contains(&report.train.steps), "{report}");
    let (report, value) = train(&paused, None);
    assert_eq!((report.ended, report.train.steps), (Ended::Complete, STEPS));
    assert_eq!(value.to_bits(), expected.to_bits());
    let metrics = |dir: &Path| fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics(&paused), metrics(&whole));
}
