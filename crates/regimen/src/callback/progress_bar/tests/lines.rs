//! The progress bar if the output is not a terminal.
#![cfg(test)]

use std::io;
use std::sync::{Arc, Mutex};

use super::*;
use crate::data::{Rank, each_epoch};
use crate::run::{Evaluate, Predict, Train};
use crate::{Fit, Run};

#[derive(Clone, Default)]
struct Out(Arc<Mutex<Vec<u8>>>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Out {
    /// The output since the last call, masked.
    fn take(&self) -> String {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        text.lines().map(|line| masked(line) + "\n").collect()
    }
}

fn bar(out: &Out, refresh: Duration) -> ProgressBar {
    ProgressBar::to(out.clone()).refresh(refresh)
}

const DATA: [f64; 3] = [1.0, 2.0, 6.0];

#[test]
fn each_epoch_ends_with_a_line_and_a_refresh_is_one_too() {
    let out = Out::default();
    let run = |refresh| {
        let mut unit = Unit;
        let mut run = Run::new(&mut unit).callback(bar(&out, refresh));
        run.fit(&DATA, &[1.0], Fit::epochs(2)).unwrap();
        out.take()
    };
    assert_eq!(
        run(Duration::MAX),
        "train epoch 1/2: 3 steps, ~/s, loss 3.000\n\
         eval epoch 1: 1 step, ~/s, loss 10.00\n\
         train epoch 2/2: 3 steps, ~/s, loss 3.000\n\
         eval epoch 2: 1 step, ~/s, loss 10.00\n\
         training complete after 2 epochs, 6 steps\n"
    );
    let all = run(Duration::ZERO);
    let first = "train epoch 1/2: step 1/3, ~/s, ~ left, loss 1.000\n\
         train epoch 1/2: step 2/3, ~/s, ~ left, loss 1.500\n\
         train epoch 1/2: step 3/3, ~/s, ~ left, loss 3.000\n\
         train epoch 1/2: 3 steps, ~/s, loss 3.000\n\
         eval epoch 1: step 1/1, ~/s, ~ left, loss 10.00\n\
         eval epoch 1: 1 step, ~/s, loss 10.00\n";
    let second = first.replace("epoch 1", "epoch 2");
    assert_eq!(all, format!("{first}{second}training complete after 2 epochs, 6 steps\n"));
}

#[test]
fn smoothed_values_begin_with_the_first_of_an_epoch_and_its_last_line_has_the_mean() {
    let out = Out::default();
    let bar = |momentum| bar(&out, Duration::ZERO).every(Every::steps(1)).smoothed(momentum);
    Run::owned(Unit).callback(bar(0.75)).train(&DATA, Train::epochs(2)).unwrap();
    // 0.75 + 0.25 * 2 and 0.75 * 1.25 + 0.25 * 6.
    let first = "train epoch 1/2: step 1/3, ~/s, ~ left, loss 1.000\n\
         train epoch 1/2: step 2/3, ~/s, ~ left, loss 1.250\n\
         train epoch 1/2: step 3/3, ~/s, ~ left, loss 2.438\n\
         train epoch 1/2: 3 steps, ~/s, loss 3.000\n";
    let second = first.replace("epoch 1", "epoch 2");
    assert_eq!(out.take(), format!("{first}{second}training complete after 2 epochs, 6 steps\n"));
    for momentum in [f64::NAN, 1.5, -0.5] {
        let error = Run::owned(Unit).callback(bar(momentum)).train(&DATA, Train::epochs(1)).unwrap_err();
        let text = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(text, format!("the momentum of a smoothed value is {momentum}; give one from 0 to 1"));
    }
}

#[test]
fn a_paused_epoch_says_where_it_stands_and_goes_on_from_there() {
    let out = Out::default();
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(bar(&out, Duration::ZERO));
    run.train(&DATA, Train::steps(2)).unwrap();
    assert_eq!(
        out.take(),
        "train epoch 1: step 1/3, ~/s, ~ left, loss 1.000\n\
         train epoch 1: step 2/3, ~/s, ~ left, loss 1.500\n\
         train epoch 1: paused at step 2/3, loss 1.500\n\
         training complete after 0 epochs, 2 steps, 2 of them in an open epoch\n"
    );
    let saved = run.run_state().unwrap();
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(bar(&out, Duration::ZERO));
    run.load_run_state(&saved).unwrap();
    run.train(&DATA, Train::epochs(1)).unwrap();
    assert_eq!(
        out.take(),
        "train epoch 1/1: step 3/3, ~/s, ~ left, loss 3.000\n\
         train epoch 1/1: 3 steps, the last 1, ~/s, loss 3.000\n\
         training complete after 1 epoch, 3 steps\n"
    );
}

#[test]
fn each_call_has_its_lines_and_one_that_fails_leaves_nothing() {
    let out = Out::default();
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(bar(&out, Duration::MAX)).on(
        Event::TrainStepEnd,
        |state: &mut State, _: &mut Unit| match state.train_progress().steps {
            2 => Err(BoxError::from("told to fail")),
            _ => Ok(()),
        },
    );
    run.train(&DATA, Train::steps(0)).unwrap();
    assert_eq!(out.take(), "training complete after 0 epochs, 0 steps\n");
    run.train(&DATA, Train::epochs(1)).unwrap_err();
    assert_eq!(out.take(), "");
    run.evaluate(&[1.0, 2.0], Evaluate::whole()).unwrap();
    assert_eq!(out.take(), "eval epoch 1: 2 steps, ~/s, loss 15.00\n");
    run.predict(&[1.0], Predict::whole(), |_| Ok(())).unwrap();
    assert_eq!(out.take(), "predict epoch 1: 1 step, ~/s\n");
    run.fit(&DATA, &[1.0], Fit::epochs(1)).unwrap();
    assert_eq!(
        out.take(),
        "train epoch 1/1: 3 steps, the last 1, ~/s, loss 3.000\n\
         eval epoch 1: 1 step, ~/s, loss 10.00\n\
         training complete after 1 epoch, 3 steps\n"
    );
}

/// A metric of one epoch only, logged by its end.
const AUC: Key = Key::last("auc");

struct Sometimes;

impl TrainUnit for Sometimes {
    type Batch = f64;
    fn train_step(&mut self, _: &mut State, _: f64) -> Result<(), BoxError> {
        Ok(())
    }
    fn on_train_epoch_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        if state.train_progress().epochs == 1 {
            state.log(AUC, 0.5, 1.0);
        }
        Ok(())
    }
}

#[test]
fn a_metric_of_one_epoch_is_not_shown_for_the_next() {
    let out = Out::default();
    let mut unit = Sometimes;
    Run::new(&mut unit).callback(bar(&out, Duration::MAX)).train(&DATA, Train::epochs(3)).unwrap();
    assert_eq!(
        out.take(),
        "train epoch 1/3: 3 steps, ~/s, auc 0.5000\n\
         train epoch 2/3: 3 steps, ~/s\n\
         train epoch 3/3: 3 steps, ~/s\n\
         training complete after 3 epochs, 9 steps\n"
    );
}

#[test]
fn metrics_that_are_many_are_left_to_logs() {
    let out = Out::default();
    let mut unit = Sometimes;
    let many = |state: &mut State, _: &mut Sometimes| {
        let names = ["system/cpu", "parameter_norm/a", "gradient_norm/a", "learning_rate/a", "momentum"];
        names.into_iter().for_each(|name| state.log(Key::last(name), 0.5, 1.0));
    };
    let run = Run::new(&mut unit).callback(bar(&out, Duration::MAX)).on(Event::TrainStepEnd, many);
    { run }.train(&DATA, Train::epochs(1)).unwrap();
    assert_eq!(
        out.take(),
        "train epoch 1/1: 3 steps, ~/s, momentum 0.5000, auc 0.5000\n\
         training complete after 1 epoch, 3 steps\n"
    );
}

#[test]
fn what_others_print_and_notices_are_lines_of_their_own() {
    let out = Out::default();
    let bar = bar(&out, Duration::ZERO);
    let mut printer = bar.printer();
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(bar).on(
        Event::TrainStepEnd.every(Every::steps(2)),
        move |state: &mut State, _: &mut Unit| -> Result<(), BoxError> {
            write!(printer, "half a ")?;
            write!(printer, "line\nand ")?;
            state.notify("worth telling");
            writeln!(printer, "another")?;
            printer.suspend(|| ());
            Ok(())
        },
    );
    run.train(&DATA[..2], Train::epochs(1)).unwrap();
    assert_eq!(
        out.take(),
        "train epoch 1/1: step 1/2, ~/s, ~ left, loss 1.000\n\
         train epoch 1/1: step 2/2, ~/s, ~ left, loss 1.500\n\
         half a line\n\
         and another\n\
         notice: worth telling\n\
         train epoch 1/1: 2 steps, ~/s, loss 1.500\n\
         training complete after 1 epoch, 2 steps\n"
    );
}

#[test]
fn a_printer_that_is_dropped_prints_what_is_left() {
    let out = Out::default();
    let mut printer = bar(&out, Duration::ZERO).printer();
    write!(printer, "no line feed").unwrap();
    assert_eq!(out.take(), "");
    drop(printer);
    assert_eq!(out.take(), "no line feed\n");
}

#[test]
fn data_of_unknown_length_has_no_total() {
    let out = Out::default();
    let data = each_epoch(|_| DATA.into_iter());
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(bar(&out, Duration::ZERO));
    run.train(&data, Train::steps(1)).unwrap();
    assert_eq!(
        out.take(),
        "train epoch 1: step 1, ~/s, ~ left, loss 1.000\n\
         train epoch 1: paused at step 1, loss 1.000\n\
         training complete after 0 epochs, 1 step, 1 of them in an open epoch\n"
    );
}

#[test]
fn only_the_first_rank_shows_anything() {
    let out = Out::default();
    let mut unit = Unit;
    let rank = Rank { index: 1, count: 2 };
    Run::new(&mut unit).rank(rank).callback(bar(&out, Duration::ZERO)).train(&DATA, Train::steps(1)).unwrap();
    assert_eq!(out.take(), "");
}

#[test]
fn an_output_that_fails_does_not_end_the_run() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let bar = ProgressBar::to(Full).refresh(Duration::ZERO);
    let mut printer = bar.printer();
    let mut unit = Unit;
    let report = Run::new(&mut unit).callback(bar).train(&DATA, Train::epochs(2)).unwrap();
    assert_eq!(report.train.steps, 6);
    assert_eq!(writeln!(printer, "a line").unwrap_err().kind(), io::ErrorKind::StorageFull);
}
