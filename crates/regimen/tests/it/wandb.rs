//! Offline runs of Weights & Biases: their records, resume, and what the real program makes of them.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use regimen::callback::Every;
use regimen::checkpoint::Checkpointer;
use regimen::log::{MetricLog, Wandb};
use regimen::metric::{Histogram, Image, Key};
use regimen::run::{Evaluate, Train, Which};
use regimen::saved::{AppState, Parts};
use regimen::state::HyperParameters;
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{BoxError, Fit, Run, State};
use regimen_test::wandb_file::read_wandb_file;
use serde_json::Value;

/// Logs a sum in each step, and texts, images and histograms in some.
struct Sum(f64);

impl TrainUnit for Sum {
    type Batch = f64;
    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        if batch.is_nan() {
            return Err("a batch that is no number".into());
        }
        self.0 += batch;
        state.log(Key::mean("train/sum"), self.0, 1.0);
        match state.train_progress().steps {
            1 => state.log_media("sample \"1\"", "two\nlines"),
            2 => state.log_media("../digit", Image::grey(2, 1, vec![0, 255])?),
            3 => state.log_media("weights", Histogram::with_buckets(&[0.0, 1.0, 4.0, f64::NAN], 2)),
            // More than a block of the file.
            4 => state.log_media("long", "x".repeat(70_000)),
            _ => {}
        }
        Ok(())
    }
}

impl EvalUnit for Sum {
    type Batch = f64;
    fn eval_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(Key::mean("eval/distance"), self.0 - batch, 1.0);
        Ok(())
    }
}

impl AppState for Sum {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("sum", &mut self.0)
    }
}

fn log(dir: &Path) -> MetricLog<Wandb> {
    MetricLog::wandb(dir).project("sums").every(Every::steps(1).or(Every::epochs(1)))
}

/// A run in a new process, in `dir`.
fn process(dir: &Path, which: Option<Which<'_>>, then: impl FnOnce(&mut Run<'_, Sum>)) {
    let mut unit = Sum(0.0);
    let mut run = Run::new(&mut unit)
        .hyper_parameters(HyperParameters::new().with("rate", 0.5).with("kind", "sum").with("deep", true))
        .callback(log(dir))
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

/// The folders of offline runs, in the order of their names.
fn runs(dir: &Path) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(dir.join("wandb")) else { return Vec::new() };
    let mut found: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn the_run(dir: &Path) -> PathBuf {
    let [run] = &runs(dir)[..] else { panic!("{:?}", runs(dir)) };
    run.clone()
}

fn file(run: &Path) -> PathBuf {
    let id = run.to_str().unwrap().rsplit('-').next().unwrap();
    run.join(format!("run-{id}.wandb"))
}

/// The records of the only run in `dir`.
fn lines(dir: &Path) -> Vec<String> {
    read(&file(&the_run(dir)))
}

fn read(file: &Path) -> Vec<String> {
    read_wandb_file(file).unwrap()
}

/// The lines without those of the summary, which repeat the history.
fn without_summary(lines: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for line in lines {
        match line.strip_prefix("summary ") {
            Some(items) => {
                let last = kept.last().unwrap().strip_prefix("history ").unwrap();
                assert_eq!(last.rsplit_once(" #").unwrap().0, items);
            }
            None => kept.push(line),
        }
    }
    kept
}

const BEGIN: [&str; 5] = [
    "header 1:regimen2:0.70.0",
    "run 1:ID 3:sums 17:T",
    "metric 1:step 6:23",
    "metric 2:* 4:step 6:13",
    "config rate=0.5 kind=\"sum\" deep=true",
];

#[test]
fn a_run_has_records_of_every_kind() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), None, |run| {
        run.fit(&[1.0, 1.0, f64::INFINITY, 1.0, 1.0], &[2.0], Fit::epochs(1)).unwrap();
    });
    let expected = [
        "history _step=0 _timestamp=T _runtime=T step=1 train/sum=1.0 #0",
        "history _step=1 _timestamp=T _runtime=T step=2 sample \"1\"=\"two\\nlines\" #1",
        "history _step=2 _timestamp=T _runtime=T step=2 train/sum=2.0 #2",
        "files 1:media/images/___digit_3.png3:2",
        "history _step=3 _timestamp=T _runtime=T step=3 ../digit={\"_type\":\"images/separated\",\"width\":2,\
         \"height\":1,\"format\":\"png\",\"count\":1,\"filenames\":[\"media/images/___digit_3.png\"]} #3",
        "history _step=4 _timestamp=T _runtime=T step=3 train/sum=Infinity #4",
        "history _step=5 _timestamp=T _runtime=T step=4 weights={\"_type\":\"histogram\",\"values\":[2, 1],\
         \"bins\":[0.0,2.0,4.0]} weights/nonfinite=1 #5",
        "history _step=6 _timestamp=T _runtime=T step=4 train/sum=Infinity #6",
        "history _step=7 _timestamp=T _runtime=T step=5 long=70002 bytes #7",
        "history _step=8 _timestamp=T _runtime=T step=5 train/sum=Infinity #8",
        "history _step=9 _timestamp=T _runtime=T step=5 train/sum_epoch=Infinity #9",
        "history _step=10 _timestamp=T _runtime=T step=5 eval/distance=Infinity #10",
        "exit 1:0 2:T",
    ];
    let found = without_summary(lines(dir.path()));
    assert_eq!(found, [&BEGIN[..], &expected].concat());
    let picture = fs::read(the_run(dir.path()).join("files/media/images/___digit_3.png")).unwrap();
    assert_eq!(picture[..8], *b"\x89PNG\r\n\x1a\n");
}

#[test]
fn a_restored_run_ends_with_the_records_of_one_that_was_never_stopped() {
    let whole = tempfile::tempdir().unwrap();
    process(whole.path(), None, |run| train(run, 8));
    let whole = lines(whole.path());
    for pause in 1..8 {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        process(dir, None, |run| train(run, pause));
        let run = the_run(dir);
        // Of an upload, and of a process that was killed.
        let synced = file(&run).with_added_extension("synced");
        fs::write(&synced, "").unwrap();
        let torn = [fs::read(file(&run)).unwrap(), b"a torn record".to_vec()].concat();
        fs::write(file(&run), torn).unwrap();
        process(dir, Some(Which::Latest), |run| train(run, 8));
        assert_eq!(lines(dir), whole, "paused after {pause}");
        assert!(!synced.exists());

        process(dir, Some(Which::Step(pause)), |run| {
            train(run, 8 - pause);
            train(run, 8);
        });
        assert_eq!(lines(dir), whole, "restored at {pause}");
    }
}

#[test]
fn calls_in_one_process_are_one_run_with_one_end() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), None, |run| {
        train(run, 1);
        run.evaluate(&[2.0], Evaluate::whole()).unwrap();
        assert_eq!(lines(dir.path()).last().unwrap(), "exit 1:0 2:T");
        run.train(&[f64::NAN; 9], Train::steps(2)).unwrap_err();
        run.evaluate(&[4.0], Evaluate::whole()).unwrap();
    });
    let expected = [
        "history _step=0 _timestamp=T _runtime=T step=1 train/sum=1.0 #0",
        "history _step=1 _timestamp=T _runtime=T step=1 eval/distance=-1.0 #1",
        "history _step=2 _timestamp=T _runtime=T step=1 eval/distance=-3.0 #2",
        "exit 1:1 2:T",
    ];
    assert_eq!(without_summary(lines(dir.path())), [&BEGIN[..], &expected].concat());
}

#[test]
fn a_pass_by_hand_in_another_process_is_a_run_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    process(dir, None, |run| train(run, 2));
    let (training, before) = (the_run(dir), lines(dir));
    process(dir, Some(Which::Step(1)), |run| {
        run.evaluate(&[2.0], Evaluate::whole()).unwrap();
        assert_eq!(read(&file(&training)), before);
        train(run, 2);
    });
    assert_eq!(read(&file(&training)), before);
    let mut own = runs(dir);
    own.retain(|run| *run != training);
    let [own] = &own[..] else { panic!("{own:?}") };
    let expected = ["history _step=0 _timestamp=T _runtime=T step=1 eval/distance=-1.0 #0", "exit 1:0 2:T"];
    assert_eq!(without_summary(read(&file(own))), [&BEGIN[..4], &expected].concat());
}

#[test]
fn a_changed_hyper_parameter_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), None, |run| train(run, 1));
    let mut unit = Sum(0.0);
    let mut run = Run::new(&mut unit)
        .hyper_parameters(HyperParameters::new().with("rate", 0.25))
        .callback(log(dir.path()))
        .saver(Checkpointer::new(dir.path().join("run")));
    run.restore(Which::Latest).unwrap();
    train(&mut run, 1);
    let found = without_summary(lines(dir.path()));
    assert_eq!(
        found[5..],
        [
            "history _step=0 _timestamp=T _runtime=T step=1 train/sum=1.0 #0",
            "config rate=0.25",
            "exit 1:0 2:T"
        ]
    );
}

#[test]
fn a_file_that_is_not_the_saved_one_is_refused_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    process(dir, None, |run| train(run, 5));
    let path = file(&the_run(dir));
    let saved = fs::read(&path).unwrap();
    let mut foreign = saved.clone();
    foreign[100] ^= 1;
    for (bytes, why) in
        [(&foreign[..], "is not the one of this run: its first"), (&saved[..50], "has 50 bytes, but")]
    {
        fs::write(&path, bytes).unwrap();
        process(dir, Some(Which::Latest), |run| {
            let error = format!("{:#}", run.train(&DATA, Train::steps(8)).unwrap_err());
            let expected = format!("the log {} {why}", path.display());
            assert!(error.contains(&expected), "{error}");
        });
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_name_of_a_value_of_wandb_is_refused() {
    struct Named;
    impl TrainUnit for Named {
        type Batch = f64;
        fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
            state.log(Key::mean("step"), batch, 1.0);
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let error = Run::new(&mut Named).callback(log(dir.path())).train(&DATA, Train::steps(1)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "callback MetricLog(wandb) failed at train step end in train at epoch 0 step 1: W&B has a value \
         `step` of its own; give the metric another name, or leave it out with `MetricLog::only`"
    );
}

/// Runs the test of this name in a process with these environment variables, for its training in `dir`.
fn child(test: &str, dir: &Path, variables: &[(&str, &str)]) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", &format!("wandb::{test}")]).env(CHILD, dir).envs(variables.iter().copied());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

const CHILD: &str = "REGIMEN_TEST_WANDB";

#[test]
fn the_environment_describes_a_run_or_disables_it() {
    if let Some(dir) = env::var_os(CHILD) {
        let mut unit = Sum(0.0);
        let log = MetricLog::wandb(dir).run_name("first").group("sums").job_type("").tags(["a", "b"]);
        Run::new(&mut unit).callback(log).train(&DATA, Train::steps(1)).unwrap();
        return;
    }
    let test = "the_environment_describes_a_run_or_disables_it";
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    child(test, dir, &[("WANDB_MODE", "disabled")]);
    assert_eq!(fs::read_dir(dir).unwrap().count(), 0);

    let variables = [
        ("WANDB_MODE", "online"),
        ("WANDB_PROJECT", "project"),
        ("WANDB_ENTITY", "entity"),
        ("WANDB_NAME", "another"),
        ("WANDB_RUN_GROUP", ""),
        ("WANDB_JOB_TYPE", "train"),
        ("WANDB_NOTES", "of some\nlines"),
        ("WANDB_TAGS", "c,d"),
        ("WANDB_RUN_ID", "mine"),
    ];
    child(test, dir, &variables);
    let run = the_run(dir);
    assert!(run.to_str().unwrap().ends_with("-mine"));
    let described = "run 1:ID 2:entity 3:project 6:sums 8:first 9:of some\nlines 10:a 10:b 17:T";
    assert_eq!(read(&file(&run))[1], described);
}

#[test]
fn an_id_of_the_environment_is_that_of_trainings_alone_and_their_folders_differ() {
    if let Some(dir) = env::var_os(CHILD) {
        let dir = Path::new(&dir);
        for _ in 0..3 {
            let mut unit = Sum(0.0);
            let mut run = Run::new(&mut unit).callback(log(dir));
            run.evaluate(&[2.0], Evaluate::whole()).unwrap();
            train(&mut run, 1);
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let test = "an_id_of_the_environment_is_that_of_trainings_alone_and_their_folders_differ";
    child(test, dir.path(), &[("WANDB_RUN_ID", "mine")]);
    let (trainings, passes): (Vec<_>, Vec<_>) =
        runs(dir.path()).into_iter().partition(|run| run.to_str().unwrap().ends_with("-mine"));
    assert_eq!((trainings.len(), passes.len()), (3, 3));
    let kinds = |run: &PathBuf| read(&file(run)).iter().any(|line| line.contains(" train/sum="));
    assert!(trainings.iter().all(kinds) && !passes.iter().any(kinds));
}

#[test]
fn a_file_whose_end_was_changed_is_not_cut_back() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    process(dir, None, |run| {
        train(run, 1);
        let path = file(&the_run(dir));
        let longer = [fs::read(&path).unwrap(), b"more".to_vec()].concat();
        fs::write(&path, &longer).unwrap();
        let error = format!("{:#}", run.train(&DATA, Train::steps(2)).unwrap_err());
        assert!(error.contains("was changed under the run: it has "), "{error}");
        assert_eq!(fs::read(&path).unwrap(), longer);
    });
}

#[test]
fn real_wandb_reads_and_syncs_what_is_written() {
    let Some(python) = env::var_os("REGIMEN_LOGS_PYTHON") else {
        eprintln!(
            "NOT RUN: real_wandb_reads_and_syncs_what_is_written needs REGIMEN_LOGS_PYTHON, a Python with wandb"
        );
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    process(dir, None, |run| train(run, 3));
    process(dir, Some(Which::Step(2)), |run| {
        run.fit(&[1.0, 1.0, f64::INFINITY, 1.0, 1.0], &[2.0], Fit::epochs(1)).unwrap();
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/log/wandb_check.py");
    let output = Command::new(python).arg(script).arg(dir.join("wandb")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    // JSON of Python, which has a name for what is no number.
    let read: Value = serde_json::from_str(&text.replace(": Infinity", ": \"Infinity\"")).unwrap();
    let [synced] = &read["sync"]["runs"].as_object().unwrap().values().collect::<Vec<_>>()[..] else {
        panic!("{text}")
    };
    let row = |row: &Value| {
        let mut row = row.as_object().unwrap().clone();
        assert!(row.remove("_timestamp").unwrap().is_f64() && row.remove("_runtime").is_some());
        Value::from(row).to_string()
    };
    let history: Vec<_> = synced["history"].as_array().unwrap().iter().map(row).collect();
    let picture = "{\"_type\":\"images/separated\",\"count\":1,\"filenames\":[\"media/images/___digit_3.png\"],\
                   \"format\":\"png\",\"height\":1,\"width\":2}";
    let long = "x".repeat(70_000);
    let expected = [
        r#"{"_step":0,"step":1,"train/sum":1}"#,
        r#"{"_step":1,"sample \"1\"":"two\nlines","step":2}"#,
        r#"{"_step":2,"step":2,"train/sum":2}"#,
        &format!(r#"{{"../digit":{picture},"_step":3,"step":3}}"#),
        r#"{"_step":4,"step":3,"train/sum":"Infinity"}"#,
        r#"{"_step":5,"step":4,"weights":{"_type":"histogram","bins":[0,2,4],"values":[2,1]},"weights/nonfinite":1}"#,
        r#"{"_step":6,"step":4,"train/sum":"Infinity"}"#,
        &format!(r#"{{"_step":7,"long":"{long}","step":5}}"#),
        r#"{"_step":8,"step":5,"train/sum":"Infinity"}"#,
        r#"{"_step":9,"step":5,"train/sum_epoch":"Infinity"}"#,
        r#"{"_step":10,"eval/distance":"Infinity","step":5}"#,
    ];
    assert_eq!(history, expected);
    assert_eq!((&synced["exitcode"], &synced["complete"]), (&0.into(), &true.into()));
    assert_eq!(synced["summary"]["train/sum_epoch"], "Infinity");
    let config = &synced["upserts"].as_array().unwrap().last().unwrap()["config"];
    assert_eq!((&config["rate"]["value"], &config["kind"]["value"]), (&0.5.into(), &"sum".into()));
    let uploaded = read["sync"]["requests"]["other"].as_array().unwrap();
    let is_picture = |request: &&Value| request.as_str().unwrap().contains("media/images/___digit_3.png");
    assert_eq!(uploaded.iter().filter(is_picture).count(), 1);
    assert_eq!(read["sync"]["markers"].as_array().unwrap().len(), 1);
}
