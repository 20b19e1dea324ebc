//! Runs on an MLflow server: one in memory, and MLflow itself.
#![cfg(feature = "mlflow")]
#![allow(clippy::panic, reason = "a test fails by panicking")]

mod real;
mod server;

use std::sync::Mutex;
use std::time::Duration;
use std::{fs, thread};

use regimen::callback::{Event, Every};
use regimen::log::{MetricLog, Mlflow, OnFailure};
use regimen::metric::{Image, Key, Reduction};
use regimen::run::{Evaluate, Report, Train};
use regimen::saved::StateDict;
use regimen::state::HyperParameters;
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{BoxError, Error, Fit, Run, State};
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
    MetricLog::mlflow().uri(uri).experiment("digits").run_name("first").every(every).spool_dir(folder.path())
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

/// Waits until the server has answered so many calls of the kind.
fn wait_for_answers(server: &Server, kind: &str, count: usize) {
    while server.tracked().calls.iter().filter(|call| call.starts_with(kind)).count() < count {
        thread::sleep(Duration::from_millis(5));
    }
}

/// A name that is too long for MLflow, and the one that it has there.
fn long_name() -> (String, String) {
    // The checksum is that of zlib.
    ("k".repeat(251), format!("{}-e4053200", "k".repeat(228)))
}

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
    let (long, cut) = long_name();
    let settings = HyperParameters::new().with("rate", 0.5).with("betas()", "0.9").with(&*long, 1);
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).hyper_parameters(settings).callback(log);
    let report = run.fit(&BATCHES, &[f64::NAN, 1.0], Fit::epochs(1)).unwrap();
    assert_eq!(
        report.notices,
        [
            &*format!(
                "MLflow does not take the name `betas()`: it is `betas__-1fec2afd` there; MLflow does not take the \
                 name `{long}`: it is `{cut}` there"
            ),
            "MLflow does not take the name `eval/acc@1`: it is `eval/acc_1-97a7101c` there",
            "such.file is left out of the MLflow run: cannot read no/such.file: No such file or directory (os error 2)",
        ]
    );
    let tracked = server.tracked();
    let [run] = &*tracked.runs else { panic!("one run") };
    assert_eq!(tracked.experiments, ["digits"]);
    assert_eq!(run.name, "first");
    assert_eq!(
        run.points(),
        ["1 train/loss 0.5", "2 eval/acc_1-97a7101c NaN", "2 train/loss 0.25", "2 train/loss_epoch 0.375"]
    );
    let params = [("betas__-1fec2afd", "0.9"), (&*cut, "1"), ("rate", "0.5")];
    assert_eq!(run.params, params.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    let tag = |key: &str| run.tags.get(key).map(String::as_str);
    assert_eq!(
        [
            "team",
            "mlflow.parentRunId",
            "mlflow.source.type",
            "regimen.name.eval/acc_1-97a7101c",
            "regimen.name.betas__-1fec2afd",
            &*format!("regimen.name.{cut}"),
        ]
        .map(tag),
        ["a", "run9", "LOCAL", "eval/acc@1", "betas()", &*long].map(Some)
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
             address is right; until then, metrics wait for it"
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
            "2 eval/acc_1-97a7101c 1.0",
            "2 train/loss 0.25",
            "2 train/loss_epoch 0.375",
            "4 eval/acc_1-97a7101c 1.0",
            "4 train/loss_epoch 0.375",
            "6 eval/acc_1-97a7101c 1.0",
            "6 train/loss_epoch 0.375"
        ]
    );
}

/// Checks the error of `open`, and the notice in place of it.
fn check_refusal(log: impl Fn() -> MetricLog<Mlflow>, expected: &str) {
    let error = train(log().on_failure(OnFailure::Error), None, 2, nothing).unwrap_err();
    let at = "callback MetricLog(mlflow) failed at train start in train at epoch 0 step 0: ";
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
        || log("databricks", &folder),
        "the tracking URI \"databricks\" is not the address of an MLflow server; run `mlflow server`, and give its \
         address, such as http://127.0.0.1:5000",
    );
    check_refusal(
        || log(&server.uri, &folder).run_id("run7"),
        "the MLflow run run7 does not exist; restore it with `mlflow runs restore --run-id run7`, or log to another \
         run, by `run_id` or MLFLOW_RUN_ID",
    );
    change(&|tracked| tracked.runs[0].is_deleted = true);
    check_refusal(
        known,
        "the MLflow run run0 is deleted; restore it with `mlflow runs restore --run-id run0`, or log to another run, \
         by `run_id` or MLFLOW_RUN_ID",
    );
    change(&|tracked| tracked.is_experiment_deleted = true);
    check_refusal(
        || log(&server.uri, &folder),
        "the MLflow experiment `digits` is deleted; restore it with `mlflow experiments restore --experiment-id 0`, \
         or choose another name",
    );
}

/// The entries in the only file of the folder, of a kind.
fn spooled(folder: &TempDir, kind: &str) -> usize {
    let [file] = &*files(folder) else { panic!("one file") };
    let text = fs::read_to_string(folder.path().join(file)).unwrap();
    text.lines().filter(|line| line.starts_with(&format!("{{\"{kind}\""))).count()
}

/// The error of a server at `uri` that wants a password.
fn denied(uri: &str) -> String {
    format!(
        "the MLflow server {uri} answers experiments/get-by-name with 401: You are not authenticated; set \
         MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    )
}

/// The notices of two steps that such a server did not take.
fn notices_without_password(denied: &str, folder: &TempDir) -> [String; 2] {
    let (path, tags) = (folder.path().join(&files(folder)[0]), spooled(folder, "tag"));
    [
        format!("{denied}; until then, metrics wait for it"),
        format!(
            "not sent to MLflow: 3 values, {tags} tags, 3 logged files, the status of the run: {denied}; {} holds \
             the values, parameters and tags, which are sent when the run goes on from its checkpoint",
            path.display()
        ),
    ]
}

#[test]
fn a_server_that_wants_a_password_gets_everything_later() {
    let (server, folder) = (Server::start(), folder());
    server.tracked().wants_password = true;
    let denied = denied(&server.uri);
    let error = train(log(&server.uri, &folder).on_failure(OnFailure::Error), None, 2, nothing).unwrap_err();
    let at = "callback MetricLog(mlflow) failed at train start in train at epoch 0 step 0: ";
    assert_eq!(format!("{error:#}"), format!("{at}{denied}"));
    files(&folder).iter().for_each(|file| fs::remove_file(folder.path().join(file)).unwrap());

    let (saved, report) = train(log(&server.uri, &folder), None, 2, nothing).unwrap();
    assert_eq!(report.notices, notices_without_password(&denied, &folder));
    server.tracked().wants_password = false;
    train(log(&server.uri, &folder), Some(&saved), 4, nothing).unwrap();
    assert_eq!(server.tracked().runs[0].points(), FOUR_STEPS);
    assert_eq!(files(&folder), [""; 0]);
}

#[test]
fn a_run_that_is_deleted_meanwhile_ends_the_log_alone_and_what_is_left_is_in_a_file() {
    let (server, folder) = (Server::start(), folder());
    let settings = HyperParameters::new().with("rate", 0.5).with("deep", true);
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).hyper_parameters(settings).callback(log(&server.uri, &folder));
    run.train(&BATCHES, Train::steps(2)).unwrap();
    let saved = run.run_state().unwrap();
    server.tracked().runs[0].is_deleted = true;
    let report = run.train(&BATCHES, Train::steps(4)).unwrap();
    let path = folder.path().join("mlflow-run0.jsonl").display().to_string();
    let deleted = "the MLflow run run0 is deleted; restore it with `mlflow runs restore --run-id run0`, or log to \
                   another run, by `run_id` or MLFLOW_RUN_ID";
    assert_eq!(
        report.notices,
        [
            format!("{deleted}; no more is sent in this process; metrics are kept in {path}"),
            format!(
                "not sent to MLflow: 3 values, 2 parameters, the status of the run: {deleted}; {path} holds the \
                 values, parameters and tags, which are sent when the run goes on from its checkpoint or with \
                 MLFLOW_RUN_ID=run0"
            ),
        ]
    );
    server.tracked().runs[0].is_deleted = false;
    train(log(&server.uri, &folder), Some(&saved), 4, nothing).unwrap();
    assert_eq!(server.tracked().runs[0].points(), FOUR_STEPS);
    assert_eq!(files(&folder), [""; 0]);
}

#[test]
fn a_store_of_files_that_fails_holds_back_neither_values_nor_the_status() {
    for (status, is_refusal) in [(500, false), (413, true)] {
        let (server, folder) = (Server::start(), folder());
        server.tracked().store_fails = Some(status);
        let plots = ["a.svg", "b.svg"].map(|name| folder.path().join(name));
        plots.iter().for_each(|plot| fs::write(plot, "<svg/>").unwrap());
        let log = log(&server.uri, &folder).artifact(&plots[0]).artifact(&plots[1]);
        // The failure of the second upload is told before the third one begins.
        let tries = server.clone();
        let wait = move |state: &mut State, _: &mut Unit| {
            if state.train_progress().steps == 3 {
                wait_for_answers(&tries, "put", 3);
            }
        };
        let (_, report) = train(log, None, 4, wait).unwrap();
        let why = format!(
            "the MLflow server {} answers the upload with {status}: the store of files is full",
            server.uri
        );
        let out = format!("is left out of the MLflow run: {why}");
        let expected = if is_refusal {
            format!(
                "images/a picture/step-000000002.png {out}; further ones are not named; a.svg {out}; b.svg {out}"
            )
        } else {
            format!(
                "{why}; files wait until it takes them; not sent to MLflow: 3 logged files, a.svg, b.svg: {why}"
            )
        };
        assert_eq!(report.notices.join("; "), expected);
        let tracked = server.tracked();
        assert_eq!(tracked.runs[0].points(), FOUR_STEPS);
        assert_eq!(tracked.runs[0].statuses, ["RUNNING", "FINISHED"]);
    }
}

#[test]
fn a_store_of_files_that_comes_back_gets_every_file() {
    let (server, folder) = (Server::start(), folder());
    server.tracked().store_fails = Some(503);
    let store = server.clone();
    let come_back = move |state: &mut State, _: &mut Unit| {
        if state.train_progress().steps == 3 {
            wait_for_answers(&store, "put", 4);
            store.tracked().store_fails = None;
        }
    };
    let (_, report) = train(log(&server.uri, &folder), None, 4, come_back).unwrap();
    assert_eq!(
        report.notices,
        [format!(
            "the MLflow server {} answers the upload with 503: the store of files is full; files wait until it takes \
             them",
            server.uri
        )]
    );
    let tracked = server.tracked();
    let paths: Vec<_> = tracked.runs[0].files.keys().collect();
    assert_eq!(
        paths,
        [
            "images/a%20picture/step-000000002.png",
            "texts/words/step-000000002-2.md",
            "texts/words/step-000000002.md"
        ]
    );
}

#[test]
fn an_upload_that_takes_its_time_keeps_no_status_back() {
    let (server, folder) = (Server::start(), folder());
    // Longer than the end of a call waits for anything else.
    server.tracked().upload_delay = Duration::from_secs(6);
    let uploading = server.clone();
    let wait = move |state: &mut State, _: &mut Unit| match state.train_progress().steps {
        // Only the status is left when the call ends.
        1 => wait_for_answers(&uploading, "post mlflow/runs/log-batch", 1),
        3 => {
            while !uploading.tracked().upload_delay.is_zero() {
                thread::sleep(Duration::from_millis(5));
            }
        }
        _ => {}
    };
    let log = log(&server.uri, &folder).every(Every::steps(100));
    let (_, report) = train(log, None, 3, wait).unwrap();
    assert_eq!(report.notices, [""; 0]);
    let tracked = server.tracked();
    assert_eq!(tracked.runs[0].statuses, ["RUNNING", "FINISHED"]);
    assert_eq!(tracked.runs[0].files.len(), 3);
}

/// Logs 1000 values per step.
struct Wide(Vec<Key>);

impl TrainUnit for Wide {
    type Batch = f64;
    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        self.0.iter().for_each(|key| state.log(key.clone(), batch, 1.0));
        Ok(())
    }
}

#[test]
fn values_that_neither_memory_nor_the_disk_takes_are_missing() {
    let (server, folder) = (Server::start(), folder());
    server.tracked().is_away = true;
    let spool = folder.path().join("spool");
    let block = |_: &mut State, _: &mut Wide| drop(fs::write(&spool, "no folder"));
    let mut unit = Wide((0..1000).map(|n| Key::named(format!("k{n}"), Reduction::Last)).collect());
    let log = log(&server.uri, &folder).every(Every::steps(1)).spool_dir(&spool);
    let mut run = Run::new(&mut unit).on(Event::TrainStepEnd, block).callback(log);
    let notices = run.train(&BATCHES, Train::steps(102)).unwrap().notices;
    let uri = &server.uri;
    let name = notices.last().unwrap().split(['/', ',']).find(|part| part.ends_with(".jsonl")).unwrap();
    let full = format!(
        "cannot write {}, which holds metrics for MLflow: File exists (os error 17); check its folder and the space \
         there",
        spool.join(name).display()
    );
    assert_eq!(
        notices,
        [
            format!(
                "the MLflow server {uri} does not answer: io: Peer disconnected; check that it runs and that its \
                 address is right; until then, metrics wait for it"
            ),
            format!("{full}; until then, metrics are missing in it"),
            full
        ]
    );
}

#[test]
fn no_step_waits_for_an_answer() {
    let (server, folder) = (Server::start(), folder());
    let (holding, answered) = (server.clone(), Mutex::new(Vec::new()));
    let hold = |state: &mut State, _: &mut Unit| {
        let step = state.train_progress().steps;
        let mut tracked = holding.tracked();
        tracked.holds_answers = step < 2500;
        answered.lock().unwrap().push(tracked.calls.len());
    };
    let (_, report) = train(log(&server.uri, &folder), None, 2500, hold).unwrap();
    assert_eq!(report.notices, [""; 0]);
    let answered = answered.into_inner().unwrap();
    assert_eq!(answered, [answered[0]; 2500]);
    assert_eq!(server.tracked().runs[0].points().len(), 2500 + 1250);
}

#[test]
fn answers_that_take_their_time_hold_many_steps() {
    let (server, folder) = (Server::start(), folder());
    server.tracked().delay = Duration::from_millis(300);
    let (_, report) = train(log(&server.uri, &folder), None, 100, nothing).unwrap();
    assert_eq!(report.notices, [""; 0]);
    let tracked = server.tracked();
    assert_eq!(tracked.runs[0].points().len(), 150);
    let batches = tracked.calls.iter().filter(|call| call.ends_with("runs/log-batch")).count();
    assert!(batches < 100, "{batches}");
}

#[test]
fn entries_under_a_run_that_the_checkpoint_does_not_know_are_sent() {
    let (server, folder) = (Server::start(), folder());
    server.tracked().is_away = true;
    let (saved, _) = train(log(&server.uri, &folder), None, 2, nothing).unwrap();
    // The process goes on, learns the id of its run, and ends before the next checkpoint.
    let [name] = &*files(&folder) else { panic!("one file") };
    let key = name.trim_start_matches("mlflow-").trim_end_matches(".jsonl").to_owned();
    fs::rename(folder.path().join(name), folder.path().join("mlflow-run0.jsonl")).unwrap();
    let mut tracked = server.tracked();
    let tags = [("regimen.run_key".to_owned(), key)].into();
    tracked.runs.push(Tracking { tags, statuses: vec!["RUNNING".to_owned()], ..Tracking::default() });
    tracked.is_away = false;
    drop(tracked);
    train(log(&server.uri, &folder), Some(&saved), 4, nothing).unwrap();
    let tracked = server.tracked();
    let [run] = &*tracked.runs else { panic!("one run") };
    assert_eq!(run.points(), FOUR_STEPS);
    assert_eq!(files(&folder), [""; 0]);
}

#[test]
fn a_run_given_by_its_id_without_its_checkpoint_gets_every_value_and_a_notice() {
    let (server, folder) = (Server::start(), folder());
    train(log(&server.uri, &folder), None, 2, nothing).unwrap();
    let (_, report) = train(log(&server.uri, &folder).run_id("run0"), None, 4, nothing).unwrap();
    assert_eq!(
        report.notices,
        [
            "the MLflow run run0 has values up to step 2 already, and this log was not restored from its checkpoint: a \
          step that is logged again is a second point there; for a new run, set neither `run_id` nor MLFLOW_RUN_ID"
        ]
    );
    let twice = FOUR_STEPS[..3].iter().flat_map(|point| [*point; 2]);
    let expected: Vec<_> = twice.chain(FOUR_STEPS[3..].iter().copied()).collect();
    assert_eq!(server.tracked().runs[0].points(), expected);
}

#[test]
fn a_pass_by_hand_before_training_goes_on_is_written_and_repeats_no_step() {
    let (server, folder) = (Server::start(), folder());
    let (saved, _) = train(log(&server.uri, &folder), None, 1, nothing).unwrap();
    train(log(&server.uri, &folder), Some(&saved), 3, nothing).unwrap();
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(log(&server.uri, &folder));
    run.load_run_state(&saved).unwrap();
    run.evaluate(&[1.0], Evaluate::whole()).unwrap();
    run.evaluate(&[0.5], Evaluate::whole()).unwrap();
    run.train(&BATCHES, Train::steps(4)).unwrap();
    let by_hand = ["1 eval/acc_1-97a7101c 0.5", "1 eval/acc_1-97a7101c 1.0"];
    assert_eq!(server.tracked().runs[0].points(), [&by_hand, &FOUR_STEPS[..]].concat());
}
