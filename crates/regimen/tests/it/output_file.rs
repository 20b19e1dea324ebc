//! Predictions in a file: paused, failed, killed and finished, each continued in a new process.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use regimen::callback::Event;
use regimen::checkpoint::Checkpointer;
use regimen::log::OutputFile;
use regimen::run::{Ended, Evaluate, Report};
use regimen::saved::{AppState, Parts};
use regimen::unit::PredictUnit;
use regimen::{BoxError, Error, Run, State};

struct Squares;

impl PredictUnit for Squares {
    type Batch = u64;
    type Output = u64;
    fn predict_step(&mut self, _: &mut State, batch: u64) -> Result<u64, BoxError> {
        Ok(batch * batch)
    }
}

impl AppState for Squares {
    fn visit(&mut self, _: &mut dyn Parts) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Predicts 1 to 5 as a new process would. It is stopped after `stop` steps, and the sink fails at the
/// output `fails`.
fn predict(dir: &Path, name: Option<&'static str>, stop: u64, fails: u64) -> Result<Report, Error> {
    let mut unit = Squares;
    let stop = move |state: &mut State, _: &mut Squares| {
        if state.predict_progress().steps == stop {
            state.pause("told to");
        }
    };
    let mut run =
        Run::new(&mut unit).on(Event::PredictStepEnd, stop).saver(Checkpointer::new(dir.join("run")));
    run.restore_latest()?;
    let mut file = OutputFile::new(dir.join("out.csv"), move |output: u64, bytes: &mut Vec<u8>| {
        writeln!(bytes, "{output}")?;
        if output == fails { Err("no space".into()) } else { Ok(()) }
    });
    let config = name.map_or(Evaluate::whole(), |name| Evaluate::whole().resume(name));
    run.predict_into(&[1, 2, 3, 4, 5], config, &mut file)
}

fn text(dir: &Path) -> String {
    fs::read_to_string(dir.join("out.csv")).unwrap()
}

const WHOLE: &str = "1\n4\n9\n16\n25\n";

#[test]
fn no_output_is_written_twice_and_none_is_missing_wherever_it_is_paused_or_fails() {
    for first in 1..=4 {
        for second in first..=5 {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path();
            assert_eq!(predict(dir, Some("a"), first, 0).unwrap().ended, Ended::Paused("told to".into()));
            // Output of a killed process after the last save is dropped.
            File::options().append(true).open(dir.join("out.csv")).unwrap().write_all(b"16").unwrap();
            predict(dir, Some("a"), 0, second * second).map(drop).unwrap_or_default();
            assert_eq!(predict(dir, Some("a"), 0, 0).unwrap().ended, Ended::Complete);
            assert_eq!(text(dir), WHOLE, "{first} {second}");
            // It stays finished.
            let report = predict(dir, Some("a"), 0, 0).unwrap();
            assert_eq!((report.ended, report.predict.steps), (Ended::Complete, 5));
            assert_eq!(text(dir), WHOLE);
        }
    }
}

#[test]
fn without_a_name_it_begins_anew_and_keeps_the_file_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    predict(dir.path(), None, 2, 0).unwrap();
    predict(dir.path(), None, 0, 0).unwrap();
    assert_eq!(text(dir.path()), WHOLE);
    assert_eq!(fs::read_to_string(dir.path().join("out.csv.1")).unwrap(), "1\n4\n");
}

#[test]
fn a_file_that_is_not_the_one_written_is_an_error_and_stays_as_it_is() {
    for other in ["1\n", "1\n5\n9\n"] {
        let dir = tempfile::tempdir().unwrap();
        predict(dir.path(), Some("a"), 2, 0).unwrap();
        fs::write(dir.path().join("out.csv"), other).unwrap();
        let error = predict(dir.path(), Some("a"), 0, 0).unwrap_err();
        let path = dir.path().join("out.csv");
        let why = match other.len() {
            2 => "has 2 bytes, but 4 when the checkpoint was made".to_owned(),
            _ => "is not the one of this run: its first 4 bytes are not those that were written".to_owned(),
        };
        assert_eq!(
            format!("{error:#}"),
            format!(
                "sink failed in predict at epoch 0 step 2: the log {} {why}; put the file back, or log to \
                 another path",
                path.display()
            )
        );
        assert_eq!(text(dir.path()), other);
    }
}

/// The file after a prediction of 1 and 2 which is paused after each step, and continued in a new process.
fn csv<R: serde::Serialize>(dir: &Path, to_rows: fn(u64) -> Vec<R>) -> Result<String, Error> {
    for _ in 0..3 {
        let mut unit = Squares;
        let pause = |state: &mut State, _: &mut Squares| state.pause("told to");
        let mut run =
            Run::new(&mut unit).on(Event::PredictStepEnd, pause).saver(Checkpointer::new(dir.join("run")));
        run.restore_latest()?;
        let mut file = OutputFile::csv(dir.join("out.csv"), ["square", "its, name"], to_rows);
        run.predict_into(&[1, 2], Evaluate::whole().resume("a"), &mut file)?;
    }
    Ok(text(dir))
}

#[test]
fn a_csv_file_has_one_header_and_each_row_once() {
    let dir = tempfile::tempdir().unwrap();
    let rows = |square| vec![(square, "a \"one\""), (square, "b")];
    assert_eq!(
        csv(dir.path(), rows).unwrap(),
        "square,\"its, name\"\n1,\"a \"\"one\"\"\"\n1,b\n4,\"a \"\"one\"\"\"\n4,b\n"
    );
    assert!(!dir.path().join("out.csv.1").exists());
}

#[test]
fn a_step_without_rows_writes_none() {
    let dir = tempfile::tempdir().unwrap();
    let rows = |square| if square == 1 { vec![] } else { vec![[square, 0]] };
    assert_eq!(csv(dir.path(), rows).unwrap(), "square,\"its, name\"\n4,0\n");
}

#[test]
fn a_row_that_does_not_fit_the_header_is_refused_with_its_step() {
    let dir = tempfile::tempdir().unwrap();
    let rows = |square| if square == 1 { vec![vec![1, 2]] } else { vec![vec![1, 2], vec![3]] };
    let error = csv(dir.path(), rows).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "sink failed in predict at epoch 0 step 1: a row has 1 field, and the header has 2"
    );
    assert_eq!(text(dir.path()), "square,\"its, name\"\n1,2\n");
}
