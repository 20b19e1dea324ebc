//! Logs that differ from the run's: torn by a power cut, cut, replaced, or of another run.
#![cfg(feature = "derive")]
#![allow(clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use regimen::callback::{Event, Every};
use regimen::checkpoint::Checkpointer;
use regimen::log::{ExistingFile, MetricLog};
use regimen::metric::Key;
use regimen::run::Train;
use regimen::saved::{AppState, StateDict};
use regimen::unit::TrainUnit;
use regimen::{BoxError, Error, Run, State};

/// Logs a number that depends on all steps before, and two names, one of several lines.
#[derive(AppState)]
struct Sum {
    sum: f64,
    #[app_state(skip)]
    rate: f64,
}

impl TrainUnit for Sum {
    type Batch = u64;

    fn train_step(&mut self, state: &mut State, batch: u64) -> Result<(), BoxError> {
        self.sum += self.rate;
        state.log(Key::last("sum"), self.sum, 1.0);
        if batch == 2 {
            state.log(Key::last("two\n\"lines\""), 1.0, 1.0);
        }
        Ok(())
    }
}

const DATA: [u64; 4] = [1, 2, 3, 4];

type Make = fn(&Path) -> MetricLog<regimen::log::LogFile>;

const FORMATS: [Make; 2] = [|path| MetricLog::csv(path), |path| MetricLog::jsonl(path)];

/// Trains to `steps` with the log that `make` makes at `path`, and `existing` for an existing file.
/// Returns the notices.
fn train(make: Make, path: &Path, existing: ExistingFile, steps: u64) -> Result<Vec<String>, Error> {
    let (told, mut unit) = (Arc::new(Mutex::new(Vec::new())), Sum { sum: 0.0, rate: 0.5 });
    let notices = Arc::clone(&told);
    let log = make(path).every(Every::steps(1)).existing(existing);
    let mut run =
        Run::new(&mut unit).callback(log).on(Event::Notice, move |state: &mut State, _: &mut Sum| {
            notices.lock().unwrap().extend_from_slice(state.notices());
        });
    run.train(&DATA, Train::steps(steps))?;
    drop(run);
    Ok(Arc::into_inner(told).unwrap().into_inner().unwrap())
}

#[test]
fn a_row_that_was_torn_anywhere_is_cut_off_and_told_and_the_rows_that_follow_are_whole() {
    for make in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics");
        train(make, &path, ExistingFile::Append, 1).unwrap();
        let first = fs::read(&path).unwrap();
        // Two rows in the second step: one of two lines in a CSV file.
        fs::remove_file(&path).unwrap();
        train(make, &path, ExistingFile::Append, 2).unwrap();
        let second = fs::read(&path).unwrap();
        let row = second[first.len()..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for cut in 0..=second.len() {
            // The rest: up to the last end of a row before the cut.
            let ends = [0, header(make), first.len(), first.len() + row, second.len()];
            let stays = ends.into_iter().filter(|end| *end <= cut).max().unwrap();
            fs::write(&path, &second[..cut]).unwrap();
            let told = train(make, &path, ExistingFile::Append, 1).unwrap();
            let rows = &first[header(make)..];
            let begin = if stays == 0 { &first[..header(make)] } else { &second[..stays] };
            let expected = [begin, rows].concat();
            assert_eq!(
                String::from_utf8(fs::read(&path).unwrap()),
                String::from_utf8(expected),
                "cut at {cut}"
            );
            let torn = String::from_utf8_lossy(&second[stays..cut]);
            let notice =
                format!("the last row of the log {} was torn, and is cut off: {torn:?}", path.display());
            // A torn header is written again.
            let is_told = stays < cut && header(make) <= cut;
            assert_eq!(told, if is_told { vec![notice] } else { Vec::new() }, "cut at {cut}");
        }
    }
}

/// The length of the header of a file.
fn header(make: Make) -> usize {
    let folder = tempfile::tempdir().unwrap();
    train(make, &folder.path().join("metrics"), ExistingFile::Append, 0).unwrap();
    fs::read(folder.path().join("metrics")).unwrap().len()
}

#[test]
fn a_row_torn_before_rows_that_are_whole_costs_none_of_these() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.csv");
    let torn = "step,phase,name,value,epoch\n1,train,\"a\n2,train,sum,0.5,\n";
    fs::write(&path, torn).unwrap();
    assert_eq!(train(FORMATS[0], &path, ExistingFile::Append, 1).unwrap(), Vec::<String>::new());
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{torn}1,train,sum,0.5,\n"));
}

#[test]
fn a_last_line_that_is_no_record_is_an_error_and_stays() {
    for (make, content) in FORMATS.into_iter().zip(["step,phase,name,value,epoch\nnotes", "notes"]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics");
        fs::write(&path, content).unwrap();
        let error =
            train(make, &path, ExistingFile::Append, 1).map_err(|error| format!("{error:#}")).unwrap_err();
        assert_eq!(
            error,
            format!(
                "callback MetricLog(metrics) failed at train start in train at epoch 0 step 0: cannot append to \
                 {}: its last line is no record: \"notes\"; log to another path",
                path.display()
            )
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

/// Applies `change` to the log of a run after its second step, which must then end with the error
/// `expected`. More than a second passes, after which a write looks at the file.
#[track_caller]
fn check_changed(change: impl Fn(&Path) + Send + 'static, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.csv");
    let (changed, mut unit) = (path.clone(), Sum { sum: 0.0, rate: 0.5 });
    let mut run = Run::new(&mut unit).callback(MetricLog::csv(&path).every(Every::steps(1))).on(
        Event::TrainStepEnd.every(Every::steps(2)),
        move |_: &mut State, _: &mut Sum| {
            change(&changed);
            thread::sleep(Duration::from_millis(1_100));
        },
    );
    let error = run.train(&DATA, Train::steps(4)).map_err(|error| format!("{error:#}")).unwrap_err();
    assert_eq!(
        error,
        format!(
            "callback MetricLog(metrics.csv) failed at train step end in train at epoch 0 step 2: the log {} was \
             changed under the run: {expected}; log to a path that nothing else writes to",
            path.display()
        )
    );
    assert_eq!(run.state().train_progress().steps, 2);
    let content = fs::read(&path).unwrap_or_default();
    assert!(!content.contains(&0), "a hole");
}

#[test]
fn a_log_that_somebody_changes_under_a_run_is_an_error_and_never_a_hole() {
    let set = |length: u64| {
        move |path: &Path| fs::File::options().write(true).open(path).unwrap().set_len(length).unwrap()
    };
    check_changed(set(10), "it has 10 bytes, and 45 were written");
    check_changed(set(0), "it has 0 bytes, and 45 were written");
    let longer =
        |path: &Path| fs::write(path, fs::read_to_string(path).unwrap() + "9,train,sum,1.0,\n").unwrap();
    check_changed(longer, "it has 62 bytes, and 45 were written");
}

#[test]
fn a_log_that_was_changed_since_the_last_look_at_it_is_an_error_when_the_call_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.csv");
    let (changed, mut unit) = (path.clone(), Sum { sum: 0.0, rate: 0.5 });
    let mut run = Run::new(&mut unit)
        .callback(MetricLog::csv(&path).every(Every::steps(1)))
        .on(Event::TrainEnd, move |_: &mut State, _: &mut Sum| fs::write(&changed, "gone").unwrap());
    let error = run.train(&DATA, Train::steps(2)).map_err(|error| format!("{error:#}")).unwrap_err();
    assert_eq!(
        error,
        format!(
            "callback MetricLog(metrics.csv) failed at train end in train at epoch 0 step 2: the log {} was \
             changed under the run: it has 4 bytes, and 91 were written; log to a path that nothing else \
             writes to",
            path.display()
        )
    );
}

#[cfg(unix)]
#[test]
fn a_log_that_is_removed_or_replaced_under_a_run_is_an_error() {
    check_changed(
        |path| fs::remove_file(path).unwrap(),
        "it cannot be found: No such file or directory (os error 2)",
    );
    let replace = |path: &Path| {
        let content = fs::read(path).unwrap();
        fs::rename(path, path.with_extension("old")).unwrap();
        fs::write(path, content).unwrap();
    };
    check_changed(replace, "another file is in its place");
}

/// The error as text, without the path of the log's folder.
fn told(error: &Error, folder: &Path) -> String {
    format!("{error:#}").replace(&*folder.to_string_lossy(), "")
}

/// The two runs of a folder that write to one log: A for 6 steps, B for 12, then A restarted.
fn two_runs(rate: f64) -> (Result<(), String>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("metrics.csv");
    let go = |dir: &str, rate: f64, steps: u64| {
        let mut unit = Sum { sum: 0.0, rate };
        let mut run = Run::new(&mut unit)
            .saver(Checkpointer::new(folder.path().join(dir)))
            .callback(MetricLog::csv(&log).every(Every::steps(1)));
        run.restore_latest()?;
        run.train(&DATA, Train::steps(steps)).map(drop)
    };
    go("A", 1.0, 6).unwrap();
    go("B", rate, 12).unwrap();
    let before = fs::read_to_string(&log).unwrap();
    let result = go("A", 1.0, 8).map_err(|error| told(&error, folder.path()));
    (result, before, fs::read_to_string(&log).unwrap())
}

#[test]
fn a_log_of_another_run_is_never_cut_back() {
    // All of these have as many digits as the rate of A, so that only the values differ.
    for rate in [2.0, 1.5, 0.5, 3.0] {
        let (result, before, after) = two_runs(rate);
        assert_eq!(
            result.unwrap_err(),
            "callback MetricLog(metrics.csv) failed at train start in train at epoch 1 step 6: the log \
             /metrics.csv is not the one of this run: its first 188 bytes are not those that were written; put \
             the file back, or log to another path"
        );
        assert_eq!(before, after);
    }
}

#[test]
fn a_log_whose_first_bytes_are_those_that_were_written_is_cut_back_and_goes_on() {
    let (result, before, after) = two_runs(1.0);
    result.unwrap();
    let rows = |text: &str| text.lines().take_while(|row| !row.starts_with("9,")).count();
    assert_eq!(after.lines().collect::<Vec<_>>(), before.lines().take(rows(&before)).collect::<Vec<_>>());
}

/// A log with two rows, restored from a state of it that `change` has changed.
fn restored(change: impl FnOnce(&mut StateDict)) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.csv");
    let text = |error: Error| told(&error, folder.path());
    let (mut unit, log) = (Sum { sum: 0.0, rate: 0.5 }, || MetricLog::csv(&path).every(Every::steps(1)));
    let mut run = Run::new(&mut unit).callback(log());
    run.train(&DATA, Train::steps(1)).map_err(text)?;
    let mut saved = run.run_state().unwrap();
    run.train(&DATA, Train::steps(3)).map_err(text)?;
    drop(run);
    change(&mut saved);
    let mut run = Run::new(&mut unit).callback(log());
    run.load_run_state(&saved).map_err(|error| error.to_string())?;
    run.train(&DATA, Train::steps(1)).map_err(text)?;
    Ok(fs::read_to_string(&path).unwrap())
}

#[test]
fn a_state_without_a_checksum_is_checked_as_it_was_before_there_was_one() {
    const LENGTH: &str = "callbacks.MetricLog(metrics.csv).state.length";
    const CRC32: &str = "callbacks.MetricLog(metrics.csv).state.crc32";
    let first_row = Ok("step,phase,name,value,epoch\n1,train,sum,0.5,\n".to_owned());
    assert_eq!(restored(|_| {}), first_row);
    assert_eq!(restored(|saved| drop(saved.remove(CRC32).unwrap())), first_row);
    let error = |change: fn(&mut StateDict)| restored(change).unwrap_err();
    let other = error(|saved| {
        drop(saved.remove(CRC32).unwrap());
        saved.insert(CRC32, 7_u32).unwrap();
    });
    let place = "callback MetricLog(metrics.csv) failed at train start in train at epoch 0 step 1: the log /metrics.csv";
    let remedy = "put the file back, or log to another path";
    assert_eq!(
        other,
        format!(
            "{place} is not the one of this run: its first 45 bytes are not those that were written; {remedy}"
        )
    );
    let longer = error(|saved| {
        drop(saved.remove(LENGTH).unwrap());
        saved.insert(LENGTH, u64::MAX).unwrap();
    });
    let lengths = "has 108 bytes, but 18446744073709551615 when the checkpoint was made";
    assert_eq!(longer, format!("{place} {lengths}; {remedy}"));
    let wide = error(|saved| {
        drop(saved.remove(CRC32).unwrap());
        saved.insert(CRC32, 7_u64).unwrap();
    });
    assert_eq!(wide, "callback MetricLog(metrics.csv): `crc32`: expected U32, found U64");
}

#[cfg(unix)]
#[test]
fn a_log_to_a_device_goes_on_after_a_restart() {
    let run = |saved: Option<&StateDict>, steps: u64| {
        let mut unit = Sum { sum: 0.0, rate: 0.5 };
        let mut run = Run::new(&mut unit).callback(MetricLog::csv("/dev/null").every(Every::steps(1)));
        saved.into_iter().for_each(|saved| run.load_run_state(saved).unwrap());
        run.train(&DATA, Train::steps(steps)).unwrap();
        run.run_state().unwrap()
    };
    run(Some(&run(None, 2)), 4);
}
