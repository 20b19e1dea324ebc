//! The folder of a run: its files, restarts, and parts left out.
#![cfg(feature = "derive")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use regimen::callback::{Event, Every};
use regimen::folder::RunFolder;
use regimen::metric::Key;
use regimen::peers::Peers;
use regimen::run::Train;
use regimen::saved::AppState;
use regimen::state::HyperParameters;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Error, Run, State};
use regimen_test::peers::{Threads, on_ranks};
use serde_json::Value;

use crate::ranks_agree::PATIENCE;

#[derive(AppState)]
struct Sum(f64);

impl TrainUnit for Sum {
    type Batch = f64;
    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        if batch < 0.0 {
            return Err("a negative batch".into());
        }
        self.0 += batch;
        state.log(Key::mean("loss"), self.0, 1.0);
        Ok(())
    }
}

fn train(folder: RunFolder, data: &[f64], steps: u64) -> Result<(Option<u64>, f64), Error> {
    let mut unit = Sum(0.0);
    let settings = HyperParameters::new().with("rate", 0.5).with("wide", f64::INFINITY).with("name", "a");
    let mut run = folder.open(Run::new(&mut unit).hyper_parameters(settings))?;
    let from = run.restored().map(|restored| restored.step);
    run.train(data, Train::steps(steps))?;
    drop(run);
    Ok((from, unit.0))
}

/// The files of `dir`, by name, without those of its folders.
fn files(dir: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file());
    let named = files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path));
    named.map(|(name, path)| (name, fs::read_to_string(path).unwrap())).collect()
}

const DATA: [f64; 3] = [1.0, 2.0, 4.0];

/// Trains on 3 ranks in calls that end after these steps, each of them a restart. Returns the metrics.
fn train_on_three(calls: &[u64]) -> String {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("run");
    for &steps in calls {
        let trained = on_ranks(Threads::of(3, PATIENCE), |peers| {
            let (rank, mut unit) = (peers.rank().index, Sum(0.0));
            let run = Run::new(&mut unit).peers(peers).on(
                Event::TrainStepStart,
                move |state: &mut State, _: &mut Sum| {
                    let apart = rank * state.train_progress().steps;
                    state.log(Key::mean("apart"), apart as f64, 1.0);
                },
            );
            let folder = RunFolder::new(&dir).metrics_every(Every::steps(2).or(Every::epochs(1)));
            folder.open(run)?.train(&DATA, Train::steps(steps)).map(|report| report.train.steps)
        });
        assert_eq!(trained.into_iter().map(|steps| steps.unwrap().unwrap()).collect::<Vec<_>>(), [steps; 3]);
    }
    let files = files(&dir);
    assert_eq!(files["environment.jsonl"].lines().count(), calls.len());
    let mut metrics = String::new();
    for line in files["metrics.jsonl"].lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        metrics += &format!("{} {} {}\n", record["step"], record["name"], record["value"]);
    }
    metrics
}

#[test]
fn several_ranks_have_one_folder_which_the_first_writes_and_from_which_they_go_on() {
    // The values of steps are those of rank 0, and of the epoch the means over all ranks.
    let expected = "2 \"apart\" 0.0\n2 \"loss\" 3.0\n3 \"apart\" 1.0\n3 \"loss\" 3.6666666666666665\n\
                    4 \"apart\" 0.0\n4 \"loss\" 8.0\n";
    let whole = train_on_three(&[4]);
    assert_eq!(whole, expected);
    assert_eq!(train_on_three(&[1, 2, 3, 4]), whole);
}

#[test]
fn a_folder_has_everything_and_a_run_goes_on_from_it() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("runs/sum");
    let folder = || RunFolder::new(&dir).metrics_every(Every::steps(2));
    assert_eq!(train(folder(), &DATA, 2).unwrap(), (None, 3.0));
    assert_eq!(train(folder(), &DATA, 4).unwrap(), (Some(2), 8.0));
    let files = files(&dir);
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(names, ["LOCK", "environment.jsonl", "hyper_parameters.json", "log.txt", "metrics.jsonl"]);
    assert_eq!(
        files["hyper_parameters.json"],
        "{\n  \"name\": \"a\",\n  \"rate\": 0.5,\n  \"wide\": \"inf\"\n}\n"
    );
    assert_eq!(
        files["metrics.jsonl"],
        "{\"step\":2,\"phase\":\"train\",\"name\":\"loss\",\"value\":3.0,\"epoch\":null}\n\
         {\"step\":4,\"phase\":\"train\",\"name\":\"loss\",\"value\":8.0,\"epoch\":null}\n"
    );
    let starts: Vec<Value> =
        files["environment.jsonl"].lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps: Vec<u64> = starts.iter().map(|start| start["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, 2]);
    assert_eq!(starts[1]["expected"], serde_json::json!({"steps_in_epoch": 3, "epochs": null, "steps": 4}));
    for start in &starts {
        assert_eq!(start["process"], std::process::id());
        assert_eq!(start["command"][0], std::env::args().next().unwrap());
    }
    let notes: Vec<&str> =
        files["log.txt"].lines().map(|line| &line["2026-11-29T08:10:00Z ".len()..]).collect();
    let saved = |step: u64| format!("saved in {}", dir.join(format!("step-{step:09}")).display());
    // The second line of a report begins without a time.
    let tails = files["log.txt"].lines().filter(|line| line.starts_with("saved")).collect::<Vec<_>>();
    assert_eq!(tails, [saved(2), saved(4)]);
    assert_eq!(notes[0], "step 2: training complete after 0 epochs, 2 steps, 2 of them in an open epoch");
}

#[test]
fn an_error_is_in_the_history() {
    let dir = tempfile::tempdir().unwrap();
    train(RunFolder::new(dir.path()), &[-1.0], 2).unwrap_err();
    let log = files(dir.path())["log.txt"].clone();
    assert_eq!(
        &log["2026-11-29T08:10:00Z ".len()..],
        "step 0: error: unit failed in train_step in train at epoch 0 step 0: a negative batch\n"
    );
}

#[test]
fn parts_can_be_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let folder = || RunFolder::new(dir.path()).without_metrics().without_environment().without_notices();
    train(folder(), &DATA, 2).unwrap();
    assert_eq!(files(dir.path()).into_keys().collect::<Vec<_>>(), ["LOCK", "hyper_parameters.json"]);
}

/// The bytes of every file under `dir`, by its path.
fn bytes(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut bytes(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

#[test]
fn a_folder_of_another_run_is_refused_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let folder = || RunFolder::new(dir.path()).metrics_every(Every::steps(1));
    train(folder(), &DATA, 2).unwrap();
    let before = bytes(dir.path());
    assert!(before.len() > 6, "{:?}", before.keys());
    let error = train(folder().without_restore(), &DATA, 2).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        format!(
            "state failed in train at epoch 0 step 0: `{}` holds checkpoints of another run, the newest of step \
             2: restore it to go on with it, or give another directory",
            dir.path().display()
        )
    );
    assert_eq!(bytes(dir.path()), before);
}

#[test]
fn a_file_that_cannot_be_written_is_a_notice_and_training_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["log.txt", "environment.jsonl"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    let mut unit = Sum(0.0);
    let mut run = RunFolder::new(dir.path()).open(Run::new(&mut unit)).unwrap();
    let report = run.train(&DATA, Train::steps(3)).unwrap();
    let path = dir.path().join("environment.jsonl");
    assert_eq!(report.notices, [format!("cannot write {}: Is a directory (os error 21)", path.display())]);
}
