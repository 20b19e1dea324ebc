//! Two runs on one run directory: the second is refused before it touches a file.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use regimen::callback::{Event, Every};
use regimen::checkpoint::Checkpointer;
use regimen::data::Rank;
use regimen::log::{ExistingFile, MetricLog};
use regimen::run::{Ended, Evaluate, Predict, Train};
use regimen::unit::PredictUnit;
use regimen::{BoxError, Error, Run, State};

use super::common::*;

impl PredictUnit for Walk {
    type Batch = u64;
    type Output = u64;

    fn predict_step(&mut self, _: &mut State, batch: u64) -> Result<u64, BoxError> {
        Ok(batch)
    }
}

const TRAIN: [u64; 9] = [1; 9];

/// A run in `dir` whose log is in it as well.
fn run<'a>(dir: &Path, existing: ExistingFile, unit: &'a mut Walk) -> Run<'a, Walk> {
    let log = MetricLog::csv(dir.join("metrics.csv")).every(Every::steps(1)).existing(existing);
    Run::new(unit).callback(log).saver(Checkpointer::new(dir).every(Every::steps(3)))
}

/// The action of a second run in the directory.
type Second = fn(&mut Run<'_, Walk>) -> Result<(), Error>;

const CALLS: [Second; 4] = [
    |run| run.train(&TRAIN, Train::steps(9)).map(drop),
    |run| run.restore_latest().and_then(|_| run.train(&TRAIN, Train::steps(9))).map(drop),
    |run| run.evaluate(&[7], Evaluate::whole()).map(drop),
    |run| run.predict(&[7], Predict::whole(), |_| Ok(())).map(drop),
];

/// The files of `dir` by name with their content, except the checkpoints and the lock.
fn files(dir: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let logs = entries.filter(|path| path.to_str().unwrap().contains("metrics"));
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    let mut files: Vec<_> = logs.map(read).collect();
    files.sort();
    files
}

#[test]
fn a_second_run_is_refused_before_it_touches_a_file_and_the_first_goes_on_and_restarts() {
    let alone = tempfile::tempdir().unwrap();
    run(alone.path(), ExistingFile::Rename, &mut Walk::new()).train(&TRAIN, Train::steps(9)).unwrap();

    for existing in [ExistingFile::Rename, ExistingFile::Append, ExistingFile::Overwrite] {
        for call in CALLS {
            let dir = tempfile::tempdir().unwrap();
            let in_first = dir.path().to_owned();
            let disturb = move |_: &mut State, _: &mut Walk| {
                let before = files(&in_first);
                let mut other = Walk::new();
                let refusal = call(&mut run(&in_first, existing, &mut other))
                    .map_err(|error| format!("{error:#}"))
                    .unwrap_err();
                let process = std::process::id();
                assert!(refusal.contains(&format!("process {process} on ")), "{refusal}");
                assert!(refusal.ends_with("a run directory has one writer at a time"), "{refusal}");
                assert_eq!(files(&in_first), before);
            };
            let mut first = Walk::new();
            let mut first =
                run(dir.path(), existing, &mut first).on(Event::TrainStepEnd.every(Every::steps(5)), disturb);
            assert_eq!(first.train(&TRAIN, Train::steps(7)).unwrap().ended, Ended::Complete);
            drop(first);

            let mut again = Walk::new();
            let mut again = run(dir.path(), existing, &mut again);
            assert_eq!(again.restore_latest().unwrap().unwrap().step, 7);
            again.train(&TRAIN, Train::steps(9)).unwrap();
            assert_eq!(files(dir.path()), files(alone.path()));
        }
    }
}

#[test]
fn the_lock_is_held_until_the_run_is_dropped_and_not_by_other_ranks() {
    let dir = tempfile::tempdir().unwrap();
    let start = |rank: Rank| {
        let unit = Box::leak(Box::new(Walk::new()));
        let mut run = Run::new(unit).rank(rank).saver(Checkpointer::new(dir.path()));
        run.evaluate(&[7], Evaluate::whole()).map(|_| run)
    };
    let first = start(Rank::default()).unwrap();
    start(Rank { index: 1, count: 2 }).unwrap();
    start(Rank::default()).unwrap_err();
    drop(first);
    start(Rank::default()).unwrap();
}

#[test]
fn a_setting_that_cannot_be_used_is_refused_in_every_call() {
    for call in CALLS {
        let disk = Arc::new(regimen::checkpoint::SimDisk::new());
        let mut unit = Walk::new();
        let mut run = Run::new(&mut unit).saver(Checkpointer::new(DIR).store(disk).keep_last(0));
        for _ in 0..2 {
            let error = call(&mut run).map_err(|error| format!("{error:#}")).unwrap_err();
            assert!(error.contains("`Checkpointer::keep_last`: the newest is always kept"), "{error}");
        }
        assert_eq!(run.unit().calls, 0);
    }
}

/// A folder that not even the superuser can write to.
#[cfg(target_os = "linux")]
#[test]
fn where_nothing_can_be_written_a_run_can_be_evaluated_and_not_trained() {
    let mut unit = Walk::new();
    let mut run = Run::new(&mut unit).saver(Checkpointer::new("/sys"));
    run.evaluate(&[7], Evaluate::whole()).unwrap();
    let error = run.train(&TRAIN, Train::steps(9)).map_err(|error| format!("{error:#}")).unwrap_err();
    assert!(error.contains("cannot open `/sys/LOCK`: "), "{error}");
    assert_eq!(run.state().train_progress().steps, 0);
}
