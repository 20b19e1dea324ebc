//! Runs on MLflow itself, and its view of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;
use std::{env, fs, thread};

use regimen::Run;
use regimen::callback::Every;
use regimen::log::{MetricLog, Mlflow};
use regimen::run::Train;
use regimen::state::HyperParameters;
use regimen::{Fit, State};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::server::{Server, post};
use super::{
    BATCHES, Unit, denied, files, folder, long_name, nothing, notices_without_password, spooled, train,
};

/// MLflow, a folder and the name of an experiment.
struct Case {
    uri: String,
    folder: TempDir,
    name: &'static str,
}

type Check = fn(&Case);

impl Case {
    fn log(&self, uri: &str) -> MetricLog<Mlflow> {
        let every = Every::steps(1).or(Every::epochs(1));
        let log = MetricLog::mlflow().uri(uri).experiment(self.name).run_name("first");
        log.every(every).spool_dir(self.folder.path())
    }

    /// The experiment as the interface of MLflow shows it.
    fn experiment(&self) -> Value {
        let dump = Command::new(python()).args([CHECK, "dump", "--experiment", self.name]).output().unwrap();
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        let dump: Value = serde_json::from_slice(&dump.stdout).unwrap();
        dump["experiments"][0].clone()
    }

    /// The only run.
    fn run(&self) -> Value {
        let experiment = self.experiment();
        let [run] = &**experiment["runs"].as_array().unwrap() else { panic!("one run: {experiment}") };
        run.clone()
    }

    /// Checks that each step up to `steps` has one point, and that nothing waits.
    fn check(&self, steps: u64) {
        let run = self.run();
        let losses = (1..=steps).map(|step| format!("{step} {}", if step % 2 == 1 { 0.5 } else { 0.25 }));
        assert_eq!(points(&run, "train/loss"), losses.collect::<Vec<_>>(), "{}", self.name);
        let epochs = (1..=steps / 2).map(|epoch| format!("{} 0.375", 2 * epoch));
        assert_eq!(points(&run, "train/loss_epoch"), epochs.collect::<Vec<_>>(), "{}", self.name);
        assert_eq!(run["info"]["status"], "FINISHED", "{}", self.name);
        assert_eq!(files(&self.folder), [""; 0], "{}", self.name);
    }
}

/// The steps and values of a metric.
fn points(run: &Value, key: &str) -> Vec<String> {
    let points: Vec<(u64, u64, Value)> = serde_json::from_value(run["metrics"][key].clone()).unwrap();
    points.into_iter().map(|(step, _, value)| format!("{step} {value}")).collect()
}

fn everything_is_shown_and_a_resumed_run_has_no_second_point(case: &Case) {
    let log = || case.log(&case.uri).tag("team", "a");
    let plot = case.folder.path().join("plot.svg");
    fs::write(&plot, "<svg/>").unwrap();
    let (saved, report) = train(log(), None, 1, nothing).unwrap();
    assert_eq!(report.notices, [""; 0]);
    train(log(), Some(&saved), 3, nothing).unwrap();
    let mut unit = Unit;
    let (long, cut) = long_name();
    let settings = HyperParameters::new().with("rate", 0.1 + 0.2).with("empty", "").with(&*long, 1);
    let mut run = Run::new(&mut unit).hyper_parameters(settings).callback(log().artifact(&plot));
    run.load_run_state(&saved).unwrap();
    let report = run.fit(&BATCHES, &[f64::NAN], Fit::steps(4)).unwrap();
    assert_eq!(
        report.notices,
        [
            "hyper-parameters differ: `rate` was not given and is 0.30000000000000004",
            "hyper-parameters differ: `empty` was not given and is ",
            &*format!("hyper-parameters differ: `{long}` was not given and is 1"),
            &*format!("MLflow does not take the name `{long}`: it is `{cut}` there"),
            "MLflow does not take the name `eval/acc@1`: it is `eval/acc_1-97a7101c` there"
        ]
    );
    fs::remove_file(plot).unwrap();

    case.check(4);
    let run = case.run();
    assert_eq!(points(&run, "eval/acc_1-97a7101c"), ["2 \"NaN\"", "4 \"NaN\""]);
    assert_eq!(run["params"], json!({"rate": "0.30000000000000004", "empty": "", &*cut: "1"}));
    assert_eq!(run["tags"][format!("regimen.name.{cut}")], *long);
    assert_eq!(run["info"]["run_name"], "first");
    assert_eq!(
        (&run["tags"]["team"], &run["tags"]["regimen.name.eval/acc_1-97a7101c"]),
        (&"a".into(), &"eval/acc@1".into())
    );
    let artifacts = run["artifacts"].as_object().unwrap();
    assert_eq!(
        artifacts.keys().collect::<Vec<_>>(),
        [
            "images/a picture/step-000000002.png",
            "plot.svg",
            "texts/words/step-000000002-2.md",
            "texts/words/step-000000002.md"
        ]
    );
    assert_eq!(artifacts["plot.svg"], "<svg/>".len());
}

fn a_lost_answer_makes_no_second_point(case: &Case) {
    let proxy = Server::proxy(&case.uri);
    proxy.tracked().loses_answers = true;
    let (_, report) = train(case.log(&proxy.uri), None, 40, nothing).unwrap();
    assert_eq!(report.notices, [""; 0]);
    case.check(40);
}

fn a_server_that_is_away_for_five_seconds_loses_nothing_and_holds_no_step(case: &Case) {
    let proxy = Server::proxy(&case.uri);
    let mut answered = Vec::new();
    let outage = |state: &mut State, _: &mut Unit| {
        let step = state.train_progress().steps;
        let mut tracked = proxy.tracked();
        if step >= 3 {
            tracked.is_away = true;
            answered.push(tracked.calls.len());
        }
        drop(tracked);
        if step == 40 {
            thread::sleep(Duration::from_secs(5));
            proxy.tracked().is_away = false;
        }
    };
    train(case.log(&proxy.uri), None, 40, outage).unwrap();
    assert_eq!(answered, [answered[0]; 38]);
    case.check(40);
}

fn points_that_are_left_are_sent_when_the_run_goes_on(case: &Case) {
    let proxy = Server::proxy(&case.uri);
    let (saved, _) = train(case.log(&proxy.uri), None, 1, nothing).unwrap();
    let leave = |_: &mut State, _: &mut Unit| proxy.tracked().is_away = true;
    let (_, report) = train(case.log(&proxy.uri), Some(&saved), 3, leave).unwrap();
    let [spool] = &*files(&case.folder) else { panic!("one file") };
    let path = case.folder.path().join(spool).display().to_string();
    let id = spool.trim_start_matches("mlflow-").trim_end_matches(".jsonl");
    let tags = spooled(&case.folder, "tag");
    let away = format!("the MLflow server {} does not answer: io: Peer disconnected", proxy.uri);
    assert_eq!(
        report.notices,
        [
            format!("{away}; until then, metrics wait for it"),
            format!(
                "not sent to MLflow: 3 values, {tags} tags, 3 logged files, the status of the run: {away}; {path} holds \
                 the values, parameters and tags, which are sent when the run goes on from its checkpoint or with \
                 MLFLOW_RUN_ID={id}"
            )
        ]
    );
    proxy.tracked().is_away = false;
    train(case.log(&proxy.uri), Some(&saved), 4, nothing).unwrap();
    case.check(4);
}

fn a_server_that_wants_a_password_gets_everything_later(case: &Case) {
    let proxy = Server::proxy(&case.uri);
    proxy.tracked().wants_password = true;
    let (saved, report) = train(case.log(&proxy.uri), None, 2, nothing).unwrap();
    let denied = denied(&proxy.uri);
    assert_eq!(report.notices, notices_without_password(&denied, &case.folder));
    proxy.tracked().wants_password = false;
    train(case.log(&proxy.uri), Some(&saved), 4, nothing).unwrap();
    case.check(4);
}

fn answers_of_300_ms_hold_many_steps(case: &Case) {
    let proxy = Server::proxy(&case.uri);
    proxy.tracked().delay = Duration::from_millis(300);
    train(case.log(&proxy.uri), None, 100, nothing).unwrap();
    let calls = &proxy.tracked().calls;
    assert!(calls.iter().filter(|call| call.ends_with("runs/log-batch")).count() < 100, "{calls:?}");
    case.check(100);
}

fn a_run_and_an_experiment_that_are_deleted_are_told(case: &Case) {
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(case.log(&case.uri));
    run.train(&BATCHES, Train::steps(2)).unwrap();
    let saved = run.run_state().unwrap();
    let id = case.run()["info"]["run_id"].as_str().unwrap().to_owned();
    assert_eq!(post(&case.uri, "runs/delete", &json!({"run_id": id})), 200);
    let deleted = format!(
        "the MLflow run {id} is deleted; restore it with `mlflow runs restore --run-id {id}`, or log to another run, \
         by `run_id` or MLFLOW_RUN_ID"
    );
    let path = case.folder.path().join(format!("mlflow-{id}.jsonl")).display().to_string();
    assert_eq!(
        run.train(&BATCHES, Train::steps(4)).unwrap().notices,
        [
            format!("{deleted}; no more is sent in this process; metrics are kept in {path}"),
            format!(
                "not sent to MLflow: 3 values, the status of the run: {deleted}; {path} holds the values, parameters \
                 and tags, which are sent when the run goes on from its checkpoint or with MLFLOW_RUN_ID={id}"
            ),
        ]
    );
    let (_, report) = train(case.log(&case.uri), Some(&saved), 4, nothing).unwrap();
    assert_eq!(report.notices, [format!("{deleted}; until then, metrics are missing in it")]);
    assert_eq!(post(&case.uri, "runs/restore", &json!({"run_id": id})), 200);
    train(case.log(&case.uri), Some(&saved), 4, nothing).unwrap();
    case.check(4);

    let experiment = case.experiment()["id"].as_str().unwrap().to_owned();
    assert_eq!(post(&case.uri, "experiments/delete", &json!({"experiment_id": experiment})), 200);
    let (_, report) = train(case.log(&case.uri), None, 1, nothing).unwrap();
    let deleted = format!(
        "the MLflow experiment `{}` is deleted; restore it with `mlflow experiments restore --experiment-id \
         {experiment}`, or choose another name; until then, metrics are missing in it",
        case.name
    );
    assert_eq!(report.notices, [deleted]);
}

/// MLflow shows metrics that begin with `system/` in a tab of their own.
#[allow(clippy::print_stdout, reason = "a check that did not run says so")]
fn the_load_of_the_machine_has_the_names_of_mlflow(case: &Case) {
    #[cfg(not(feature = "system"))]
    println!("NOT RUN: {}: the feature `system` is off", case.name);
    #[cfg(feature = "system")]
    {
        let interval = Duration::from_millis(250);
        let mut unit = Unit;
        let log = case.log(&case.uri).every(Every::steps(1));
        let mut run = Run::new(&mut unit)
            .on(regimen::callback::Event::TrainStepEnd, |_, _| thread::sleep(interval))
            .callback(regimen::callback::SystemMonitor::new().interval(interval))
            .callback(log);
        run.train(&BATCHES, Train::steps(2)).unwrap();
        let run = case.run();
        let keys = run["metrics"].as_object().unwrap().keys().filter(|key| key.starts_with("system/"));
        let keys: Vec<_> = keys.filter(|key| !key.contains("/gpu_") && !key.contains("/disk_")).collect();
        assert_eq!(
            keys,
            [
                "system/cpu_utilization_percentage",
                "system/network_receive_megabytes",
                "system/network_transmit_megabytes",
                "system/process_cpu_utilization_percentage",
                "system/process_memory_usage_megabytes",
                "system/system_memory_usage_megabytes",
                "system/system_memory_usage_percentage",
            ]
        );
    }
}

const CHECK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/log/mlflow_check.py");

fn python() -> String {
    env::var("REGIMEN_LOGS_PYTHON").unwrap()
}

#[test]
fn real_mlflow_shows_what_was_logged() {
    if env::var_os("REGIMEN_LOGS_PYTHON").is_none() {
        println!("NOT RUN: REGIMEN_LOGS_PYTHON names no Python with mlflow");
        return;
    }
    if env::var_os("REGIMEN_SERVED").is_some() {
        let uri = env::var("MLFLOW_TRACKING_URI").unwrap();
        let cases: [(&str, Check); 8] = [
            ("everything", everything_is_shown_and_a_resumed_run_has_no_second_point),
            ("lost answers", a_lost_answer_makes_no_second_point),
            ("outage", a_server_that_is_away_for_five_seconds_loses_nothing_and_holds_no_step),
            ("left", points_that_are_left_are_sent_when_the_run_goes_on),
            ("password", a_server_that_wants_a_password_gets_everything_later),
            ("slow", answers_of_300_ms_hold_many_steps),
            ("deleted", a_run_and_an_experiment_that_are_deleted_are_told),
            ("system", the_load_of_the_machine_has_the_names_of_mlflow),
        ];
        let is_failed = |(name, check): &(&'static str, Check)| {
            let case = Case { uri: uri.clone(), folder: folder(), name };
            catch_unwind(AssertUnwindSafe(|| check(&case))).is_err()
        };
        let failed: Vec<_> = cases.iter().filter(|case| is_failed(case)).map(|(name, _)| name).collect();
        assert_eq!(failed, [&""; 0]);
        return;
    }
    // The program that starts the server calls this test again.
    let folder = folder();
    let this = concat!(module_path!(), "::real_mlflow_shows_what_was_logged");
    let serve = Command::new(python())
        .args([CHECK, "serve"])
        .arg(folder.path())
        .arg("--")
        .arg(env::current_exe().unwrap())
        .args(["--exact", this.split_once("::").unwrap().1, "--nocapture"])
        .env("REGIMEN_SERVED", "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&[serve.stdout, serve.stderr].concat()).into_owned();
    assert!(serve.status.success() && told.contains("1 passed"), "{told}");
}
