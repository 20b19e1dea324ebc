//! A log as lines of text.
#![allow(clippy::panic, reason = "helpers of tests fail and report as tests do")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use regimen::callback::{Every, ProgressBar};
use regimen::log::{MetricLog, OnFailure};
use regimen::metric::Key;
use regimen::run::{Predict, Train};
use regimen::unit::{EvalUnit, PredictUnit, TrainUnit};
use regimen::{BoxError, Fit, Run, State};

/// Logs its batch, and a name that would move the cursor.
struct Unit;

impl TrainUnit for Unit {
    type Batch = f64;
    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(Key::mean("train/loss"), batch, 1.0);
        state.log(Key::last("two\nlines"), 1e9, 1.0);
        Ok(())
    }
}

impl EvalUnit for Unit {
    type Batch = f64;
    fn eval_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(Key::mean("eval/loss"), batch, 1.0);
        Ok(())
    }
}

impl PredictUnit for Unit {
    type Batch = f64;
    type Output = ();
    fn predict_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(Key::mean("size"), batch, 1.0);
        Ok(())
    }
}

/// An output that records each write, and is full after so many.
#[derive(Clone, Default)]
struct Output {
    writes: Arc<Mutex<Vec<String>>>,
    room: Option<usize>,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut writes = self.writes.lock().unwrap();
        if self.room == Some(writes.len()) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        writes.push(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const EACH: Every = Every::steps(2).or(Every::epochs(1));

#[test]
fn each_moment_is_one_line_and_one_write() {
    let out = Output::default();
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(MetricLog::lines(out.clone()).every(EACH));
    run.fit(&[0.231_14, f64::INFINITY], &[f64::NAN], Fit::epochs(1)).unwrap();
    run.predict(&[2.0], Predict::whole(), |()| Ok(())).unwrap();
    assert_eq!(
        *out.writes.lock().unwrap(),
        [
            "[Step 2] train/loss=inf, two\u{fffd}lines=1.000e9\n",
            "[Epoch 1] train/loss=inf, two\u{fffd}lines=1.000e9\n",
            "[Eval epoch 1] eval/loss=NaN\n",
            "[Predict epoch 1] size=2.000\n",
        ]
    );
}

#[test]
fn a_closed_pipe_is_an_error_or_a_notice() {
    let run = |on_failure: OnFailure| {
        let out = Output { room: Some(1), ..Output::default() };
        let log = MetricLog::lines(out.clone()).every(EACH).on_failure(on_failure);
        let ended = Run::new(&mut Unit).callback(log).train(&[1.0; 4], Train::epochs(1));
        assert_eq!(*out.writes.lock().unwrap(), ["[Step 2] train/loss=1.000, two\u{fffd}lines=1.000e9\n"]);
        ended
    };
    let error = run(OnFailure::Error).unwrap_err();
    let told = "cannot print metrics: broken pipe; is the reader of the output gone?";
    assert_eq!(
        format!("{error:#}"),
        format!("callback MetricLog(lines) failed at train step end in train at epoch 0 step 4: {told}")
    );
    let notices = run(OnFailure::Notice).unwrap().notices;
    assert_eq!(notices, [format!("{told}; until then, metrics are missing in it")]);
}

#[test]
fn a_printer_of_a_bar_puts_lines_among_its_own() {
    let out = Output::default();
    let bar = ProgressBar::to(out.clone());
    let log = MetricLog::lines(bar.printer()).every(Every::epochs(1));
    Run::new(&mut Unit).callback(bar).callback(log).train(&[1.0], Train::epochs(1)).unwrap();
    let lines = out.writes.lock().unwrap();
    let [of_epoch, line, report] = &lines[..] else { panic!("{lines:?}") };
    assert!(of_epoch.starts_with("train epoch 1/1: 1 step in "), "{of_epoch}");
    assert_eq!(line, "[Epoch 1] train/loss=1.000, two\u{fffd}lines=1.000e9\n");
    assert!(report.starts_with("training complete"), "{report}");
}
