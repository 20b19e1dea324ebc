//! Metric logs: their content, existing files, resumes, and full disks.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail and report as tests do")]

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use regimen::callback::{Event, Every};
use regimen::checkpoint::Checkpointer;
use regimen::data::{DataExt as _, Rank};
use regimen::log::{Clock, ExistingFile, Flush, MetricLog, MetricSink, OnFailure, Record};
use regimen::metric::Key;
use regimen::run::{Evaluate, Report, Train};
use regimen::saved::{AppState, Parts, StateDict};
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{BoxError, Callback, Error, Fit, Run, State};
use tempfile::TempDir;

const LOSS: Key = Key::mean("loss");
const LATE: Key = Key::last("late, \"quoted\"");

/// Logs the batch as loss in training, and from the fourth step on a second metric; the number of
/// training steps as loss in evaluation. Two steps make one update.
struct Unit;

impl TrainUnit for Unit {
    type Batch = f64;
    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        let step = state.train_progress().steps + 1;
        state.log(LOSS, batch, 1.0);
        if step >= 4 {
            state.log(LATE, -(step as f64), 1.0);
        }
        if step.is_multiple_of(2) {
            state.count_update();
        }
        Ok(())
    }
}

impl EvalUnit for Unit {
    type Batch = ();
    fn eval_step(&mut self, state: &mut State, (): ()) -> Result<(), BoxError> {
        state.log(LOSS, state.train_progress().steps as f64, 1.0);
        Ok(())
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn fit(log: impl Callback<Unit>, epochs: u64) -> Result<Report, Error> {
    Run::new(&mut Unit).callback(log).fit(&[1.0, 2.0, 4.0], &[()], Fit::epochs(epochs))
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

const CSV: &str = "\
step,phase,name,value,epoch
2,train,loss,2.0,
3,train,loss,2.3333333333333335,1
3,eval,loss,3.0,1
4,train,loss,1.0,
4,train,\"late, \"\"quoted\"\"\",-4.0,
6,train,loss,4.0,
6,train,\"late, \"\"quoted\"\"\",-6.0,
6,train,loss,2.3333333333333335,2
6,train,\"late, \"\"quoted\"\"\",-6.0,2
6,eval,loss,6.0,2
";

#[test]
fn a_csv_log_has_a_row_for_each_value_and_takes_late_names() {
    let path = folder().path().join("new/folder/metrics.csv");
    let every = Every::steps(2).or(Every::epochs(1));
    fit(MetricLog::csv(&path).every(every), 2).unwrap();
    assert_eq!(text(&path), CSV);
}

#[test]
fn a_clock_of_the_training_is_the_axis_of_every_phase() {
    let folder = folder();
    for (n, (clock, expected)) in [
        (Clock::Steps, [2, 3, 3, 4, 4, 6, 6, 6, 6, 6]),
        (Clock::Updates, [1, 1, 1, 2, 2, 3, 3, 3, 3, 3]),
        (Clock::Samples, [20, 30, 30, 40, 40, 60, 60, 60, 60, 60]),
        (Clock::Epochs, [0, 1, 1, 1, 1, 1, 1, 2, 2, 2]),
    ]
    .into_iter()
    .enumerate()
    {
        let path = folder.path().join(n.to_string());
        let log = MetricLog::csv(&path).every(Every::steps(2).or(Every::epochs(1))).clock(clock);
        let train = (&[1.0, 2.0, 4.0]).count_samples(|_| 10);
        Run::new(&mut Unit).callback(log).fit(&train, &[()], Fit::epochs(2)).unwrap();
        // The other columns are the same.
        let rows = CSV.lines().skip(1).zip(expected);
        let rows = rows.map(|(row, step)| format!("{step},{}\n", row.split_once(',').unwrap().1));
        let header = "step,phase,name,value,epoch\n";
        assert_eq!(text(&path), header.to_owned() + &rows.collect::<String>(), "{clock:?}");
    }
}

/// Logs a metric in the first step of the run, and another in its second.
struct Seldom;

impl TrainUnit for Seldom {
    type Batch = ();
    fn train_step(&mut self, state: &mut State, (): ()) -> Result<(), BoxError> {
        match state.train_progress().steps {
            0 => state.log(Key::last("first"), 1.0, 1.0),
            1 => state.log(Key::last("second"), 2.0, 1.0),
            _ => {}
        }
        Ok(())
    }
}

#[test]
fn what_was_not_logged_in_a_step_or_an_epoch_is_not_written_again() {
    let folder = folder();
    let path = folder.path().join("metrics.csv");
    let log = MetricLog::csv(&path).every(Every::steps(1).or(Every::epochs(1)));
    Run::new(&mut Seldom).callback(log).train(&[(); 2], Train::epochs(3)).unwrap();
    assert_eq!(
        text(&path),
        "step,phase,name,value,epoch\n1,train,first,1.0,\n2,train,second,2.0,\n\
         2,train,first,1.0,1\n2,train,second,2.0,1\n"
    );
}

#[test]
fn a_json_log_has_the_same_records() {
    let folder = folder();
    let path = folder.path().join("metrics.jsonl");
    let every = Every::steps(2).or(Every::epochs(1));
    fit(MetricLog::jsonl(&path).every(every), 2).unwrap();
    assert!(text(&path).starts_with(
        "{\"step\":2,\"phase\":\"train\",\"name\":\"loss\",\"value\":2.0,\"epoch\":null}\n\
         {\"step\":3,\"phase\":\"train\",\"name\":\"loss\",\"value\":2.3333333333333335,\"epoch\":1}\n"
    ));
    let rows: Vec<_> = text(&path)
        .lines()
        .map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            let field = |name: &str| record[name].as_str().unwrap().to_owned();
            let epoch = record["epoch"].as_u64().map(|epoch| epoch.to_string()).unwrap_or_default();
            let step = record["step"].as_u64().unwrap().to_string();
            vec![
                step,
                field("phase"),
                field("name"),
                format!("{:?}", record["value"].as_f64().unwrap()),
                epoch,
            ]
        })
        .collect();
    let csv = csv::Reader::from_reader(CSV.as_bytes()).into_deserialize::<Vec<String>>();
    assert_eq!(rows, csv.map(Result::unwrap).collect::<Vec<_>>());
}

#[test]
fn numbers_are_read_back_as_they_were_even_if_they_are_none() {
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e-300, 0.1 + 0.2, 1e300];
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let logs = |run: Run<'static, Unit>| {
        run.callback(MetricLog::csv(path("a.csv")).every(Every::steps(1)))
            .callback(MetricLog::jsonl(path("a.jsonl")).every(Every::steps(1)))
    };
    logs(Run::new(Box::leak(Box::new(Unit)))).train(&values, Train::steps(3)).unwrap();
    assert!(text(path("a.csv")).ends_with("1,train,loss,NaN,\n2,train,loss,inf,\n3,train,loss,-inf,\n"));
    assert!(text(path("a.jsonl")).contains("\"value\":\"-inf\""));
    logs(Run::new(Box::leak(Box::new(Unit)))).train(&values, Train::steps(7)).unwrap();
    let csv: Vec<f64> = text(path("a.csv"))
        .lines()
        .filter(|row| row.contains("loss"))
        .map(|row| row.split(',').nth(3).unwrap().parse().unwrap())
        .collect();
    let json: Vec<f64> = text(path("a.jsonl"))
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|record| record["name"] == "loss")
        .map(|record| match &record["value"] {
            serde_json::Value::String(text) => text.parse().unwrap(),
            number => number.as_f64().unwrap(),
        })
        .collect();
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!((bits(&csv), bits(&json)), (bits(&values), bits(&values)));
}

#[test]
fn a_file_of_an_earlier_run_is_never_lost() {
    let folder = folder();
    let path = folder.path().join("metrics.csv");
    let names = |expected: &[&str]| {
        let found = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut found: Vec<_> = found.map(|name| name.into_string().unwrap()).collect();
        found.sort();
        assert_eq!(found, expected);
    };
    let log = |existing: ExistingFile| MetricLog::csv(&path).every(Every::epochs(1)).existing(existing);
    fit(log(ExistingFile::Rename), 1).unwrap();
    let first = text(&path);
    names(&["metrics.csv"]);
    fit(log(ExistingFile::Rename), 2).unwrap();
    let second = text(&path);
    fit(log(ExistingFile::Rename), 1).unwrap();
    names(&["metrics.csv", "metrics.csv.1", "metrics.csv.2"]);
    assert_eq!(
        (text(folder.path().join("metrics.csv.1")), text(folder.path().join("metrics.csv.2"))),
        (first.clone(), second)
    );

    fs::write(&path, &first).unwrap();
    fit(log(ExistingFile::Append), 1).unwrap();
    let rows = first.strip_prefix("step,phase,name,value,epoch\n").unwrap();
    assert_eq!(text(&path), format!("{first}{rows}"));

    fit(log(ExistingFile::Overwrite), 1).unwrap();
    assert_eq!(text(&path), first);

    fs::write(&path, "time,loss\n1,2\n").unwrap();
    let error = fit(log(ExistingFile::Append), 1).map_err(|error| format!("{error:#}")).unwrap_err();
    assert_eq!(
        error,
        format!(
            "callback MetricLog(metrics.csv) failed at train start in train at epoch 0 step 0: cannot append to \
             {}: it does not begin with `step,phase,name,value,epoch`; log to another path",
            path.display()
        )
    );
    assert_eq!(text(&path), "time,loss\n1,2\n");
}

/// Fits with both kinds of log in `folder`, restored from `saved`.
fn logged(folder: &Path, saved: Option<&StateDict>, steps: u64) -> Result<StateDict, Error> {
    let mut unit = Unit;
    let (steps_and_epochs, updates) = (Every::steps(2).or(Every::epochs(1)), Every::updates(1));
    let mut run = Run::new(&mut unit)
        .callback(MetricLog::csv(folder.join("metrics.csv")).every(steps_and_epochs))
        .callback(MetricLog::jsonl(folder.join("metrics.jsonl")).every(updates).clock(Clock::Samples));
    if let Some(saved) = saved {
        run.load_run_state(saved).unwrap();
    }
    run.fit(&[1.0, 2.0, 4.0], &[()], Fit::steps(steps))?;
    Ok(run.run_state().unwrap())
}

fn both(folder: &Path) -> (String, String) {
    (text(folder.join("metrics.csv")), text(folder.join("metrics.jsonl")))
}

#[test]
fn the_log_of_a_resumed_run_is_that_of_one_never_interrupted() {
    let whole = folder();
    logged(whole.path(), None, 8).unwrap();
    for saved_at in 1..8 {
        for killed_at in saved_at..8 {
            let folder = folder();
            let saved = logged(folder.path(), None, saved_at).unwrap();
            logged(folder.path(), Some(&saved), killed_at).unwrap();
            // Killed in the middle of a write.
            let path = folder.path().join("metrics.csv");
            fs::write(&path, text(&path) + "7,train,lo").unwrap();
            logged(folder.path(), Some(&saved), 8).unwrap();
            assert_eq!(both(folder.path()), both(whole.path()), "saved at {saved_at}, killed at {killed_at}");
        }
    }
}

#[test]
fn a_log_that_is_not_the_one_of_the_checkpoint_is_an_error_and_left_alone() {
    let folder = folder();
    let path = folder.path().join("metrics.csv");
    let saved = logged(folder.path(), None, 4).unwrap();
    let length = text(&path).len();
    let check = |content: Option<&str>, expected: &str| {
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let error = logged(folder.path(), Some(&saved), 8).map_err(|error| format!("{error:#}")).unwrap_err();
        assert_eq!(
            error,
            format!(
                "callback MetricLog(metrics.csv) failed at train start in train at epoch 1 step 4: the log {} \
                 {expected}; put the file back, or log to another path",
                path.display()
            )
        );
        assert_eq!(fs::read_to_string(&path).ok().as_deref(), content);
    };
    let other = "x".repeat(1000);
    check(Some("step\n"), &format!("has 5 bytes, but {length} when the checkpoint was made"));
    check(
        Some(&other),
        &format!("is not the one of this run: its first {length} bytes are not those that were written"),
    );
    check(None, &format!("has 0 bytes, but {length} when the checkpoint was made"));
}

#[test]
fn a_checkpoint_made_before_the_log_began_cuts_nothing() {
    let folder = folder();
    let path = folder.path().join("metrics.csv");
    fs::write(&path, "of another run\n").unwrap();
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(MetricLog::csv(&path));
    let saved = run.run_state().unwrap();
    run.load_run_state(&saved).unwrap();
    run.train(&[1.0], Train::epochs(1)).unwrap();
    assert_eq!(text(folder.path().join("metrics.csv.1")), "of another run\n");
}

#[test]
fn calls_of_one_run_write_on_in_one_file() {
    let folder = folder();
    let path = folder.path().join("metrics.csv");
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(MetricLog::csv(&path).every(Every::steps(1)));
    for steps in 1..=3 {
        run.train(&[1.0, 2.0, 4.0], Train::steps(steps)).unwrap();
    }
    run.evaluate(&[()], Evaluate::whole()).unwrap();
    assert_eq!(
        text(&path),
        "step,phase,name,value,epoch\n1,train,loss,1.0,\n2,train,loss,2.0,\n3,train,loss,4.0,\n"
    );
}

#[test]
fn only_the_first_rank_writes() {
    let folder = folder();
    let path = folder.path().join("metrics.csv");
    let mut unit = Unit;
    let rank = Rank { index: 1, count: 2 };
    Run::new(&mut unit).rank(rank).callback(MetricLog::csv(&path)).train(&[1.0], Train::epochs(1)).unwrap();
    assert!(!path.exists());
}

#[test]
fn what_cannot_be_written_is_an_error_before_the_first_step() {
    let folder = folder();
    fs::write(folder.path().join("file"), "").unwrap();
    let check = |path: PathBuf, verb: &str, why: &str| {
        let mut unit = Unit;
        let mut run = Run::new(&mut unit).callback(MetricLog::csv(&path));
        let error = run.train(&[1.0], Train::epochs(1)).map_err(|error| format!("{error:#}")).unwrap_err();
        let name = path.file_name().unwrap().display();
        assert_eq!(
            error,
            format!(
                "callback MetricLog({name}) failed at train start in train at epoch 0 step 0: cannot {verb} the \
                 log {}: {why}; check its folder and the space there, or log elsewhere",
                path.display()
            )
        );
        assert_eq!(run.state().train_progress().steps, 0);
    };
    check(folder.path().join("file/metrics.csv"), "create the folder of", "File exists (os error 17)");
    check(folder.path().to_owned(), "open", "Is a directory (os error 21)");
}

/// A disk that is full, as far as the system provides one.
fn full() -> Option<PathBuf> {
    let path = PathBuf::from("/dev/full");
    if path.exists() {
        return Some(path);
    }
    println!("NOT RUN: there is no /dev/full on this system");
    None
}

#[test]
fn a_full_disk_ends_the_run_with_an_error_that_names_the_file() {
    let Some(full) = full() else { return };
    let every = Every::steps(2);
    let error = fit(MetricLog::jsonl(&full).every(every), 3).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "callback MetricLog(full) failed at train step end in train at epoch 0 step 2: \
         cannot write the log /dev/full: No space left on device (os error 28); \
         check its folder and the space there, or log elsewhere"
    );
    let error = fit(MetricLog::csv(&full).every(every), 3).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "callback MetricLog(full) failed at train start in train at epoch 0 step 0: \
         cannot write the log /dev/full: No space left on device (os error 28); \
         check its folder and the space there, or log elsewhere"
    );
}

#[test]
fn a_full_disk_is_told_once_where_the_run_is_to_go_on() {
    let Some(full) = full() else { return };
    let told = Arc::new(Mutex::new(Vec::new()));
    let notices = Arc::clone(&told);
    let mut unit = Unit;
    let log = MetricLog::csv(&full).every(Every::steps(1)).on_failure(OnFailure::Notice);
    let mut run =
        Run::new(&mut unit).callback(log).on(Event::Notice, move |state: &mut State, _: &mut Unit| {
            notices.lock().unwrap().extend(state.notices().iter().cloned());
        });
    run.fit(&[1.0, 2.0, 4.0], &[()], Fit::epochs(3)).unwrap();
    assert_eq!(
        *told.lock().unwrap(),
        ["cannot write the log /dev/full: No space left on device (os error 28); check its folder and \
          the space there, or log elsewhere; until then, metrics are missing in it"]
    );
}

/// A custom sink, which fails at its third write.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl MetricSink for Lines {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("Lines")
    }

    fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError> {
        let mut lines = self.0.lock().unwrap();
        if lines.len() == 2 {
            lines.push("failed".into());
            return Err("told to fail".into());
        }
        lines.push(records.iter().map(|record| format!("{}={} ", record.name, record.value)).collect());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        self.0.lock().unwrap().push("flush".into());
        Ok(())
    }
}

#[test]
fn other_sinks_fit_and_are_flushed_when_a_call_ends_or_fails() {
    let lines = Lines::default();
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(MetricLog::to(lines.clone()).every(Every::steps(1)));
    run.train(&[1.0, 2.0, 4.0], Train::steps(1)).unwrap();
    let error = run.train(&[1.0, 2.0, 4.0], Train::steps(3)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "callback Lines failed at train step end in train at epoch 0 step 2: told to fail"
    );
    assert_eq!(*lines.0.lock().unwrap(), ["loss=1 ", "flush", "failed", "flush"]);
}

/// A sink whose flush fails.
struct Forgetful;

impl MetricSink for Forgetful {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("Forgetful")
    }

    fn write(&mut self, _records: &[Record<'_>]) -> Result<(), BoxError> {
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        Err("told to forget".into())
    }
}

#[test]
fn a_flush_that_fails_before_a_save_is_an_error_of_the_save_and_of_the_next_event() {
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(MetricLog::to(Forgetful));
    assert_eq!(run.run_state().unwrap_err().to_string(), "told to forget");
    let error = run.train(&[1.0], Train::epochs(1)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "callback Forgetful failed at train start in train at epoch 0 step 0: told to forget"
    );
}

impl AppState for Unit {
    fn visit(&mut self, _parts: &mut dyn Parts) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A sink that notes its flushes before a checkpoint, which fail if `fails` is set.
struct Notes {
    told: Arc<Mutex<Vec<String>>>,
    fails: bool,
}

impl MetricSink for Notes {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("Notes")
    }

    fn write(&mut self, _records: &[Record<'_>]) -> Result<(), BoxError> {
        Ok(())
    }

    fn flush_later(&mut self) -> Result<Option<Flush>, BoxError> {
        let (told, fails) = (Arc::clone(&self.told), self.fails);
        Ok(Some(Box::new(move || {
            told.lock().unwrap().push("flushed".to_owned());
            if fails { Err("told to fail".into()) } else { Ok(()) }
        })))
    }
}

/// The events of flushes and saves of a run with a save after two steps and one at its end, and the run's result.
fn saved(fails: bool, policy: OnFailure) -> (Vec<String>, Result<Vec<String>, String>) {
    let folder = tempfile::tempdir().unwrap();
    let told = Arc::<Mutex<Vec<String>>>::default();
    let (on_saved, mut unit) = (Arc::clone(&told), Unit);
    let saver = Checkpointer::new(folder.path())
        .every(Every::steps(2))
        .in_foreground()
        .without_post_mortem()
        .on_saved(move |saved| on_saved.lock().unwrap().push(format!("saved {}", saved.manifest().step)));
    let log = MetricLog::to(Notes { told: Arc::clone(&told), fails }).on_failure(policy);
    let mut run = Run::new(&mut unit).callback(log).saver(saver);
    let ended = run.train(&[1.0, 2.0, 4.0], Train::steps(3));
    drop(run);
    let ended = ended.map(|report| report.notices).map_err(|error| format!("{error:#}"));
    (Arc::into_inner(told).unwrap().into_inner().unwrap(), ended)
}

#[test]
fn a_checkpoint_is_acknowledged_behind_the_logs_that_it_refers_to() {
    let (told, ended) = saved(false, OnFailure::Error);
    assert_eq!(told, ["flushed", "saved 2", "flushed", "saved 3"]);
    assert_eq!(ended, Ok(Vec::new()));

    let (told, ended) = saved(true, OnFailure::Notice);
    assert_eq!(told, ["flushed", "saved 2", "flushed", "saved 3"]);
    let notice = "told to fail; until then, metrics are missing in it";
    assert_eq!(ended, Ok(vec![notice.to_owned(), "told to fail".to_owned()]));

    let (told, ended) = saved(true, OnFailure::Error);
    assert_eq!(told, ["flushed"]);
    let error = "callback Notes failed at train step end in train at epoch 0 step 3: told to fail";
    assert_eq!(ended, Err(error.to_owned()));
}
