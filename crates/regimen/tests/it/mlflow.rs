//! Runs on an MLflow server: one in memory, and MLflow itself.
#![cfg(feature = "mlflow")]
#![allow(clippy::panic, reason = "a test fails by panicking")]

mod server;

use std::process::Command;
use std::{env, fs};

use regimen::callback::{Event, Every};
use regimen::log::{MetricLog, Mlflow, OnFailure};
use regimen::metric::{Image, Key};
use regimen::run::{Evaluate, Report, Train};
use regimen::saved::StateDict;
use regimen::state::HyperParameters;
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{BoxError, Error, Fit, Run, State};
use serde_json::Value;
use tempfile::TempDir;

use self::server::{Server, Tracked, Tracking};

/// Logs the batch and the number of the step, and in the second step a picture and a text. A negative batch fails.
struct Unit;

impl TrainUnit for Unit {
    type Batch = f64;
    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(Key::mean("train/loss"), batch, 1.0);
        if state.train_progress().steps == 1 {
            state.log_media("a picture", Image::grey(2, 1, vec![0, 255])?);
            state.log_media("words", "of **one**");
            state.log_media("words", "of another");
        }
        if batch < 0.0 {
            return Err("a negative batch".into());
        }
        Ok(())
    }
}

impl EvalUnit for Unit {
    type Batch = f64;
    fn eval_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(Key::mean("eval/acc@1"), batch, 1.0);
        Ok(())
    }
}

const BATCHES: [f64; 2] = [0.5, 0.25];

fn log(uri: &str, folder: &TempDir) -> MetricLog<Mlflow> {
    let every = Every::steps(1).or(Every::epochs(1));
    MetricLog::mlflow().uri(uri).experiment("digits").run_name("first").every(every).spool(folder.path())
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn files(folder: &TempDir) -> Vec<String> {
    let names = fs::read_dir(folder.path()).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Trains up to `steps`, restored from `saved`.
fn train(
    log: MetricLog<Mlflow>,
    saved: Option<&StateDict>,
    steps: u64,
    at_step: impl FnMut(&mut State, &mut Unit) + Send,
) -> Result<(StateDict, Report), Error> {
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).on(Event::TrainStepEnd, at_step).callback(log);
    if let Some(saved) = saved {
        run.load_run_state(saved).unwrap();
    }
    let report = run.train(&BATCHES, Train::steps(steps))?;
    Ok((run.run_state().unwrap(), report))
}

fn nothing(_: &mut State, _: &mut Unit) {}

/// The points of a training of four steps.
const FOUR_STEPS: [&str; 6] = [
    "1 train/loss 0.5",
    "2 train/loss 0.25",
    "2 train/loss_epoch 0.375",
    "3 train/loss 0.5",
    "4 train/loss 0.25",
    "4 train/loss_epoch 0.375",
];

#[test]
fn points_parameters_tags_files_and_the_status_reach_the_server() {
    let (server, folder) = (Server::start(), folder());
    let plot = folder.path().join("plot.svg");
    fs::write(&plot, "<svg/>").unwrap();
    let log = log(&server.uri, &folder)
        .tag("team", "a")
        .parent_run("run9")
        .artifact(&plot)
        .artifact("no/such.file");
    let settings = HyperParameters::new().with("rate", 0.5).with("deep", true).with("betas()", "0.9");
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).hyper_parameters(settings).callback(log);
    let report = run.fit(&BATCHES, &[f64::NAN, 1.0], Fit::epochs(1)).unwrap();
    assert_eq!(
        report.notices,
        [
            "MLflow does not take the name `betas()`: it is `betas__` there",
            "MLflow does not take the name `eval/acc@1`: it is `eval/acc_1` there",
            "such.file is left out of the MLflow run: cannot read no/such.file: No such file or directory (os error 2)",
        ]
    );
    let tracked = server.tracked();
    let [run] = &*tracked.runs else { panic!("one run") };
    assert_eq!(tracked.experiments, ["digits"]);
    assert_eq!(run.name, "first");
    assert_eq!(
        run.points(),
        ["1 train/loss 0.5", "2 eval/acc_1 NaN", "2 train/loss 0.25", "2 train/loss_epoch 0.375"]
    );
    let params = [("betas__", "0.9"), ("deep", "true"), ("rate", "0.5")];
    assert_eq!(run.params, params.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    let tag = |key: &str| run.tags.get(key).map(String::as_str);
    assert_eq!(
        [
            "team",
            "mlflow.parentRunId",
            "mlflow.source.type",
            "regimen.name.eval/acc_1",
            "regimen.name.betas__"
        ]
        .map(tag),
        ["a", "run9", "LOCAL", "eval/acc@1", "betas()"].map(Some)
    );
    assert_eq!(run.statuses, ["RUNNING", "FINISHED"]);
    let paths: Vec<_> = run.files.keys().collect();
    assert_eq!(
        paths,
        [
            "images/a%20picture/step-000000002.png",
            "plot.svg",
            "texts/words/step-000000002-2.md",
            "texts/words/step-000000002.md"
        ]
    );
    assert_eq!(run.files["plot.svg"], b"<svg/>");
    assert_eq!(run.files["texts/words/step-000000002-2.md"], b"of another");
    assert!(run.files["images/a%20picture/step-000000002.png"].starts_with(b"\x89PNG"));
}

#[test]
fn the_status_says_how_a_call_ended() {
    let (server, folder) = (Server::start(), folder());
    let mut unit = Unit;
    let pause = |state: &mut State, _: &mut Unit| {
        if state.train_progress().steps == 1 {
            state.pause("enough");
        }
    };
    let mut run = Run::new(&mut unit).on(Event::TrainStepEnd, pause).callback(log(&server.uri, &folder));
    run.train(&BATCHES, Train::steps(2)).unwrap();
    run.train(&BATCHES, Train::steps(2)).unwrap();
    run.evaluate(&[1.0], Evaluate::whole()).unwrap();
    run.train(&[-1.0], Train::steps(3)).unwrap_err();
    let mut by_hand = Unit;
    Run::new(&mut by_hand).callback(log(&server.uri, &folder)).evaluate(&[1.0], Evaluate::whole()).unwrap();
    let ends = |run: &Tracking| {
        run.statuses.iter().filter(|status| *status != "RUNNING").cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ends(&server.tracked().runs[0]), "KILLED FINISHED FAILED");
    assert_eq!(ends(&server.tracked().runs[1]), "FINISHED");
}

#[test]
fn a_resumed_run_goes_on_in_its_run_without_a_second_point() {
    let (server, folder) = (Server::start(), folder());
    let (saved, _) = train(log(&server.uri, &folder), None, 1, nothing).unwrap();
    train(log(&server.uri, &folder), Some(&saved), 3, nothing).unwrap();
    train(log(&server.uri, &folder), Some(&saved), 4, nothing).unwrap();
    let tracked = server.tracked();
    let [run] = &*tracked.runs else { panic!("one run") };
    assert_eq!(run.points(), FOUR_STEPS);
    assert_eq!(run.statuses, ["RUNNING", "FINISHED"].repeat(3));
}

#[test]
fn a_lost_answer_makes_no_second_point_and_no_second_run() {
    let (server, folder) = (Server::start(), folder());
    server.tracked().loses_answers = true;
    let (_, report) = train(log(&server.uri, &folder), None, 4, nothing).unwrap();
    assert_eq!(report.notices, [""; 0]);
    let tracked = server.tracked();
    let [run] = &*tracked.runs else { panic!("one run") };
    assert_eq!(run.points(), FOUR_STEPS);
}

#[test]
fn a_server_that_comes_back_gets_everything() {
    let (server, folder) = (Server::start(), folder());
    server.tracked().is_away = true;
    let back = server.clone();
    let come_back = move |state: &mut State, _: &mut Unit| {
        if state.train_progress().steps == 3 {
            back.tracked().is_away = false;
        }
    };
    let (_, report) = train(log(&server.uri, &folder), None, 4, come_back).unwrap();
    let uri = &server.uri;
    assert_eq!(
        report.notices,
        [format!(
            "the MLflow server {uri} does not answer: io: Peer disconnected; check that it runs and that its \
             address is right; until then, metrics are missing in it"
        )]
    );
    let tracked = server.tracked();
    assert_eq!(tracked.runs[0].points(), FOUR_STEPS);
    assert_eq!(tracked.runs[0].statuses, ["RUNNING", "FINISHED"]);
    assert_eq!(files(&folder), [""; 0]);
}

#[test]
fn points_that_are_left_are_in_a_file_and_are_sent_when_the_run_goes_on() {
    for is_known in [true, false] {
        let (server, folder) = (Server::start(), folder());
        server.tracked().is_away = !is_known;
        let (saved, _) = train(log(&server.uri, &folder), None, 1, nothing).unwrap();
        server.tracked().is_away = true;
        let (_, report) = train(log(&server.uri, &folder), Some(&saved), 3, nothing).unwrap();
        println!("{:?}", report.notices);
        let [spool] = &*files(&folder) else { panic!("one file") };
        let spooled = fs::read_to_string(folder.path().join(spool)).unwrap();
        println!("{spool}\n{spooled}");
        server.tracked().is_away = false;
        train(log(&server.uri, &folder), Some(&saved), 4, nothing).unwrap();
        assert_eq!(files(&folder), [""; 0]);
        let tracked = server.tracked();
        let [run] = &*tracked.runs else { panic!("one run") };
        assert_eq!(run.points(), FOUR_STEPS);
    }
}

#[test]
fn a_changed_parameter_and_a_refused_metric_keep_nothing_else_back() {
    let (server, folder) = (Server::start(), folder());
    let fit = |rate: f64, saved: Option<&StateDict>, epochs: u64| {
        let mut unit = Unit;
        let settings = HyperParameters::new().with("rate", rate).with("deep", true);
        let mut run = Run::new(&mut unit).hyper_parameters(settings).callback(log(&server.uri, &folder));
        if let Some(saved) = saved {
            run.load_run_state(saved).unwrap();
        }
        let report = run.fit(&BATCHES, &[1.0], Fit::epochs(epochs)).unwrap();
        (run.run_state().unwrap(), report.notices)
    };
    let (saved, _) = fit(0.5, None, 1);
    server.tracked().refuses = Some("train/loss");
    let (_, notices) = fit(0.25, Some(&saved), 3);
    let notices = notices.join("; ");
    let refusals: Vec<_> = notices.split("; ").filter(|notice| notice.contains("left out")).collect();
    let answers = format!(
        "is left out of the MLflow run: the MLflow server {} answers runs/log-batch with 400:",
        server.uri
    );
    assert_eq!(
        refusals,
        [
            format!("the parameter rate {answers} Changing param values is not allowed: rate"),
            format!("the metric train/loss {answers} Invalid value for parameter 'key'"),
        ]
    );
    let tracked = server.tracked();
    assert_eq!(tracked.runs[0].params["rate"], "0.5");
    assert_eq!(
        tracked.runs[0].points(),
        [
            "1 train/loss 0.5",
            "2 eval/acc_1 1.0",
            "2 train/loss 0.25",
            "2 train/loss_epoch 0.375",
            "4 eval/acc_1 1.0",
            "4 train/loss_epoch 0.375",
            "6 eval/acc_1 1.0",
            "6 train/loss_epoch 0.375"
        ]
    );
}

/// Checks the error of `open`, and the notice in place of it.
fn check_refusal(server: &Server, log: impl Fn() -> MetricLog<Mlflow>, expected: &str) {
    let error = train(log().on_failure(OnFailure::Error), None, 2, nothing).unwrap_err();
    let at = "callback MetricLog(mlflow) failed at train start in train at epoch 0 step 0: ";
    let expected = expected.replace("ADDRESS", &server.uri);
    assert_eq!(format!("{error:#}"), format!("{at}{expected}"));
    let (_, report) = train(log(), None, 2, nothing).unwrap();
    assert_eq!(report.notices, [format!("{expected}; until then, metrics are missing in it")]);
}

#[test]
fn a_log_that_cannot_be_is_told_when_the_call_begins() {
    let (server, folder) = (Server::start(), folder());
    train(log(&server.uri, &folder), None, 2, nothing).unwrap();
    let known = || log(&server.uri, &folder).run_id("run0");
    let change = |change: &dyn Fn(&mut Tracked)| change(&mut server.tracked());
    check_refusal(
        &server,
        || log("databricks", &folder),
        "the tracking URI \"databricks\" is not the address of an MLflow server; run `mlflow server`, and give its \
         address, such as http://127.0.0.1:5000",
    );
    check_refusal(
        &server,
        || log(&server.uri, &folder).run_id("run7"),
        "the MLflow run run7 does not exist; restore it with `mlflow runs restore --run-id run7`, or log to another \
         run, by `run_id` or MLFLOW_RUN_ID",
    );
    change(&|tracked| tracked.runs[0].is_deleted = true);
    check_refusal(
        &server,
        known,
        "the MLflow run run0 is deleted; restore it with `mlflow runs restore --run-id run0`, or log to another run, \
         by `run_id` or MLFLOW_RUN_ID",
    );
    change(&|tracked| tracked.is_experiment_deleted = true);
    check_refusal(
        &server,
        || log(&server.uri, &folder),
        "the MLflow experiment `digits` is deleted; restore it with `mlflow experiments restore --experiment-id 0`, \
         or choose another name",
    );
    change(&|tracked| tracked.wants_password = true);
    check_refusal(
        &server,
        known,
        "the MLflow server ADDRESS answers runs/get with 401: You are not authenticated; set MLFLOW_TRACKING_USERNAME and \
         MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    );
}

#[test]
fn a_run_that_is_deleted_meanwhile_ends_the_log_alone() {
    let (server, folder) = (Server::start(), folder());
    let deleting = server.clone();
    let delete = move |state: &mut State, _: &mut Unit| {
        if state.train_progress().steps == 3 {
            deleting.tracked().runs[0].is_deleted = true;
        }
    };
    let (_, report) = train(log(&server.uri, &folder), None, 4, delete).unwrap();
    let [notice] = &*report.notices else { panic!("one notice: {:?}", report.notices) };
    assert!(notice.contains("the MLflow run run0 is deleted; restore it with"), "{notice}");
}

/// Trains as a program would: the server is that of the environment.
fn train_on_mlflow(python: &str, check: &str) {
    let folder = folder();
    let log = || {
        let every = Every::steps(1).or(Every::epochs(1));
        MetricLog::mlflow()
            .experiment("digits")
            .run_name("first")
            .tag("team", "a")
            .every(every)
            .spool(folder.path())
    };
    let plot = folder.path().join("plot.svg");
    fs::write(&plot, "<svg/>").unwrap();
    let (saved, report) = train(log(), None, 1, nothing).unwrap();
    assert_eq!(report.notices, [""; 0]);
    train(log(), Some(&saved), 3, nothing).unwrap();
    let mut unit = Unit;
    let settings = HyperParameters::new().with("rate", 0.1 + 0.2).with("empty", "");
    let mut run = Run::new(&mut unit).hyper_parameters(settings).callback(log().artifact(&plot));
    run.load_run_state(&saved).unwrap();
    let report = run.fit(&BATCHES, &[f64::NAN], Fit::steps(4)).unwrap();
    assert_eq!(report.notices, ["MLflow does not take the name `eval/acc@1`: it is `eval/acc_1` there"]);

    let dump = Command::new(python).args([check, "dump", "--experiment", "digits"]).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let dump: Value = serde_json::from_slice(&dump.stdout).unwrap();
    let [run] = &**dump["experiments"][0]["runs"].as_array().unwrap() else { panic!("one run: {dump}") };
    let steps = |key: &str| {
        let points: Vec<(u64, u64, Value)> = serde_json::from_value(run["metrics"][key].clone()).unwrap();
        points.into_iter().map(|(step, _, value)| format!("{step} {value}")).collect::<Vec<_>>()
    };
    assert_eq!(steps("train/loss"), ["1 0.5", "2 0.25", "3 0.5", "4 0.25"]);
    assert_eq!(steps("train/loss_epoch"), ["2 0.375", "4 0.375"]);
    assert_eq!(steps("eval/acc_1"), ["4 \"NaN\""]);
    assert_eq!(run["params"], serde_json::json!({"rate": "0.30000000000000004", "empty": ""}));
    assert_eq!(run["info"]["status"], "FINISHED");
    assert_eq!(run["info"]["run_name"], "first");
    assert_eq!(
        (&run["tags"]["team"], &run["tags"]["regimen.name.eval/acc_1"]),
        (&"a".into(), &"eval/acc@1".into())
    );
    let files: Vec<_> =
        run["artifacts"].as_object().unwrap().iter().map(|(path, size)| format!("{path} {size}")).collect();
    assert_eq!(
        files,
        [
            "images/a picture/step-000000002.png 69",
            "plot.svg 6",
            "texts/words/step-000000002-2.md 10",
            "texts/words/step-000000002.md 10"
        ]
    );
}

#[test]
fn real_mlflow_shows_what_was_logged() {
    let Some(python) = env::var_os("REGIMEN_LOGS_PYTHON").map(|path| path.into_string().unwrap()) else {
        println!("NOT RUN: REGIMEN_LOGS_PYTHON names no Python with mlflow");
        return;
    };
    let check = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/log/mlflow_check.py");
    if env::var_os("REGIMEN_SERVED").is_some() {
        return train_on_mlflow(&python, check);
    }
    // The program that starts the server calls this test again.
    let folder = folder();
    let serve = Command::new(&python)
        .args([check, "serve"])
        .arg(folder.path())
        .arg("--")
        .arg(env::current_exe().unwrap())
        .args(["--exact", "mlflow::mlflow_itself_shows_what_was_logged"])
        .env("REGIMEN_SERVED", "1")
        .output()
        .unwrap();
    let told = [serve.stdout, serve.stderr].concat();
    assert!(serve.status.success(), "{}", String::from_utf8_lossy(&told));
}
