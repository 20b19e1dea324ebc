//! The progress bar in a terminal.
#![cfg(test)]

use std::sync::{Arc, Mutex};

use super::super::super::terminal::Terminal;
use super::emulator::Emulator;
use super::*;
use crate::metric::Reduction;
use crate::run::{Evaluate, Train};
use crate::{Fit, Run};

/// A terminal that is 80 columns wide at first.
fn terminal() -> Emulator {
    Emulator::new(80)
}

fn bar(terminal: &Emulator) -> ProgressBar {
    let terminal = Arc::new(Mutex::new(Terminal::new(terminal.clone())));
    ProgressBar::on(Screen::Terminal(terminal), Duration::ZERO)
}

/// The screen, masked.
fn screen(terminal: &Emulator) -> Vec<String> {
    terminal.rows().iter().map(|row| masked(row)).collect()
}

#[test]
fn a_terminal_has_a_bar_a_phase_and_a_line_for_what_is_done() {
    let terminal = terminal();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (look, at) = (Arc::clone(&seen), terminal.clone());
    let mut unit = Unit;
    let mut run = Run::new(&mut unit)
        .callback(bar(&terminal))
        .on(Event::EvalStepEnd, move |_: &mut State, _: &mut Unit| look.lock().unwrap().push(screen(&at)));
    run.fit(&[1.0, 3.0, 8.0], &[5.0], Fit::epochs(1).eval_every(Every::steps(2))).unwrap();
    assert_eq!(
        *seen.lock().unwrap(),
        [[
            "train epoch 1/1 ##########------ 2/3, ~/s, ~ left, loss 2.000",
            "eval epoch 1 ################ 1/1, ~/s, ~ left, loss 50.00",
        ]]
    );
    assert_eq!(
        screen(&terminal),
        [
            "eval epoch 1: 1 step, ~/s, loss 50.00",
            "train epoch 1/1: 3 steps, ~/s, loss 4.000",
            "training complete after 1 epoch, 3 steps"
        ]
    );
}

#[test]
fn a_bar_that_goes_on_begins_where_the_epoch_was_paused() {
    let terminal = terminal();
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(bar(&terminal));
    let data = [1.0, 3.0, 8.0, 0.0];
    run.train(&data, Train::steps(2)).unwrap();
    assert_eq!(
        screen(&terminal),
        [
            "train epoch 1: paused at step 2/4, loss 2.000",
            "training complete after 0 epochs, 2 steps, 2 of them in an open epoch"
        ]
    );
    let look = terminal.clone();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let mut run = run.on(Event::TrainStepStart, move |_: &mut State, _: &mut Unit| {
        sink.lock().unwrap().push(screen(&look).pop());
    });
    run.train(&data, Train::epochs(1)).unwrap();
    let bar = |text: &str| Some(text.to_owned());
    assert_eq!(
        *seen.lock().unwrap(),
        [
            bar("train epoch 1/1 ########-------- 2/4, loss 2.000"),
            bar("train epoch 1/1 ############---- 3/4, ~/s, ~ left, loss 4.000")
        ]
    );
}

#[test]
fn an_evaluation_within_an_epoch_is_no_time_of_the_epoch() {
    let mut bar = bar(&terminal());
    let mut unit = Unit;
    let run = Run::new(&mut unit);
    bar.begin(Phase::Train, 0, run.state());
    bar.begin(Phase::Eval, 0, run.state());
    let hour = Duration::from_secs(3600);
    let Some(an_hour_ago) = Instant::now().checked_sub(hour) else {
        return; // The clock began less than an hour ago.
    };
    bar.bars.iter_mut().flatten().for_each(|bar| bar.began = an_hour_ago);
    assert!(bar.end(Phase::Eval).unwrap().1 >= hour);
    assert!(bar.end(Phase::Train).unwrap().1 < hour / 2);
}

#[test]
fn what_others_print_stays_whole_above_the_bars() {
    let terminal = terminal();
    let bar = bar(&terminal);
    let (mut printer, direct) = (bar.printer(), terminal.clone());
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(bar).on(
        Event::EvalStepStart,
        move |state: &mut State, _: &mut Unit| -> Result<(), BoxError> {
            let step = state.eval_progress().steps;
            writeln!(printer, "line {step}, {}", "long ".repeat(20))?;
            printer.suspend(|| direct.print("printed by another\n"));
            Ok(())
        },
    );
    run.evaluate(&[1.0, 3.0], Evaluate::whole()).unwrap();
    let long = |step: u64| format!("line {step}, {}", "long ".repeat(20));
    let wrapped = |step: u64| [long(step)[..80].to_owned(), long(step)[80..].trim_end().to_owned()];
    let ([a, b], [c, d]) = (wrapped(0), wrapped(1));
    let printed = || "printed by another".to_owned();
    let last = "eval epoch 1: 2 steps, ~/s, loss 20.00".to_owned();
    let found: Vec<_> = terminal.rows().iter().map(|line| line.trim_end().to_owned()).collect();
    assert_eq!(found[..6], [a, b, printed(), c, d, printed()].map(|line| line.trim_end().to_owned()));
    assert_eq!(screen(&terminal)[6..], [last]);
}

#[test]
fn an_error_leaves_no_bar_behind() {
    let terminal = terminal();
    let mut unit = Unit;
    let mut run = Run::new(&mut unit)
        .callback(bar(&terminal))
        .on(Event::TrainStepEnd, |_: &mut State, _: &mut Unit| -> Result<(), BoxError> { Err("no".into()) });
    run.train(&[1.0, 3.0], Train::epochs(1)).unwrap_err();
    assert_eq!(terminal.rows(), [""; 0]);
}

#[test]
fn the_first_frame_is_complete() {
    let terminal = terminal();
    let mut unit = Unit;
    Run::new(&mut unit).callback(bar(&terminal)).train(&[1.0, 3.0, 8.0], Train::epochs(1)).unwrap();
    let frames: Vec<_> = terminal.frames().iter().map(|frame| masked(frame)).collect();
    assert_eq!(
        frames,
        [
            "train epoch 1/1 ---------------- 0/3",
            "train epoch 1/1 #####----------- 1/3, ~/s, ~ left, loss 1.000",
            "train epoch 1/1 ##########------ 2/3, ~/s, ~ left, loss 2.000",
            "train epoch 1/1 ################ 3/3, ~/s, ~ left, loss 4.000",
            "",
            "train epoch 1/1: 3 steps, ~/s, loss 4.000\n",
            "training complete after 1 epoch, 3 steps\n"
        ]
    );
}

const WIDTHS: [usize; 8] = [80, 40, 120, 60, 17, 80, 5, 40];

#[test]
fn a_bar_fits_a_terminal_of_any_width_and_its_size_may_change_at_any_time() {
    struct Many;
    impl TrainUnit for Many {
        type Batch = f64;
        fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
            for name in ["train/loss", "train/accuracy", "gradient norm", "learning rate", "scale"] {
                state.log(Key::named(name, Reduction::Mean), batch, 1.0);
            }
            Ok(())
        }
    }
    impl EvalUnit for Many {
        type Batch = f64;
        fn eval_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
            self.train_step(state, batch)
        }
    }
    let terminal = terminal();
    let bar = bar(&terminal);
    writeln!(bar.printer(), "warming up").unwrap();
    let resized = terminal.clone();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (sink, look) = (Arc::clone(&seen), terminal.clone());
    let mut unit = Many;
    let mut run = Run::new(&mut unit)
        .on(Event::EvalStepStart, move |state: &mut State, _: &mut Many| {
            resized.resize(WIDTHS[usize::try_from(state.eval_progress().steps).unwrap()]);
        })
        .callback(bar)
        .on(Event::EvalStepEnd, move |_: &mut State, _: &mut Many| sink.lock().unwrap().push(look.rows()));
    run.fit(&[1.0, 3.0], &[1.0; WIDTHS.len()], Fit::epochs(1).eval_every(Every::steps(2))).unwrap();
    assert_eq!(seen.lock().unwrap().len(), WIDTHS.len());
    for (rows, width) in seen.lock().unwrap().iter().zip(WIDTHS) {
        let above = "warming up".len().div_ceil(width);
        assert_eq!(rows[..above].concat(), "warming up", "{width}: {rows:?}");
        let [train, eval] = &rows[above..] else { panic!("{width}: {rows:?}") };
        for (row, whole) in [(train, "train epoch 1/1"), (eval, "eval epoch 1")] {
            let shown = whole.chars().take(width - 2).collect::<String>();
            assert!(row.starts_with(&shown) && row.chars().count() < width, "{width}: {rows:?}");
        }
    }
}
