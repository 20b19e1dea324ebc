//! What is read of folders that runs wrote.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use regimen::callback::Every;
use regimen::folder::RunFolder;
use regimen::metric::Key;
use regimen::run::Train;
use regimen::saved::AppState;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Error, Run, State};
use regimen_report::{Page, RunState, StoredRun};

/// A sum of its batches, each of which takes a moment.
#[derive(AppState)]
struct Sum(f64);

const MOMENT: Duration = Duration::from_millis(60);

impl TrainUnit for Sum {
    type Batch = f64;

    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        if batch < 0.0 {
            return Err("a negative batch".into());
        }
        sleep(MOMENT);
        self.0 += batch;
        state.log(Key::mean("loss"), self.0, 1.0);
        Ok(())
    }
}

fn train(folder: &Path, data: &[f64], steps: u64) -> Result<(), Error> {
    let mut unit = Sum(0.0);
    let mut run = RunFolder::new(folder).metrics_every(Every::steps(1)).open(Run::new(&mut unit))?;
    run.train(data, Train::steps(steps)).map(drop)
}

#[test]
fn a_run_that_fails_is_failed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("run");
    train(&folder, &[1.0, -1.0], 2).unwrap_err();
    let run = StoredRun::read(&folder).unwrap();
    let errors: Vec<&str> =
        run.notices.iter().filter(|notice| notice.is_error).map(|notice| &*notice.text).collect();
    let expected = "error: unit failed in train_step in train at epoch 0 step 1: a negative batch";
    assert_eq!((run.state, errors), (RunState::Failed, vec![expected]));

    let page = dir.path().join("report.html");
    Page::new([&folder]).write(&page).unwrap();
    let page = fs::read_to_string(page).unwrap();
    assert_eq!(page.matches("\"is_error\":true").count(), 1);
    assert_eq!(page.matches("\"state\":\"failed\"").count(), 1);

    // It goes on from the start, as it was never saved.
    train(&folder, &[1.0, 1.0], 2).unwrap();
    assert_eq!(StoredRun::read(&folder).unwrap().state, RunState::Finished);
}

#[test]
fn the_time_of_a_run_is_that_of_all_its_starts() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), &[1.0; 10], 5).unwrap();
    let first = StoredRun::read(dir.path()).unwrap().axes.seconds;
    train(dir.path(), &[1.0; 10], 10).unwrap();
    let whole = StoredRun::read(dir.path()).unwrap().axes.seconds.all();
    let steps: Vec<u64> = whole.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, (1..=10).collect::<Vec<_>>());
    assert_eq!(whole[..5], first.all());
    // Four moments are between the first and the last step of a start.
    let least = 4.0 * MOMENT.as_secs_f64();
    let part = |from: usize, to: usize| whole[to].1 - whole[from].1;
    assert!(part(0, 4) >= least && part(5, 9) >= least && part(4, 5) >= 0.0, "{whole:?}");
}
