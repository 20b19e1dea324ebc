//! A progress bar in terminals, and lines elsewhere.

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::ProgressStyle;

use super::Printer;
use super::printer::Screen;
use super::status::Status;
use crate::{BoxError, Callback, Error, Event, Events, Every, Phase, State};

/// Shows how far each phase has come: a bar with speed, remaining time and metrics in a terminal,
/// plain lines where the output is none.
///
/// It writes to standard error. A terminal has one bar for each phase under way, redrawn at most
/// ten times a second; other outputs get a line every five seconds. At the end of an epoch, or
/// where it is paused, one line says what came of it. Speed and time are those of the epoch in this
/// call, without evaluations within it; metrics are those over the epoch so far.
/// [Notices](State::notices) are printed too.
///
/// What others print would tear the bar apart: have them print through its
/// [`printer`](ProgressBar::printer). An output that is closed or full is no error; the run goes on
/// unseen. Among several ranks only the first shows anything.
#[derive(Debug)]
pub struct ProgressBar {
    printer: Printer,
    refresh: Duration,
    every: Every,
    bars: [Option<Bar>; 3],
}

/// An epoch that is shown.
#[derive(Debug)]
struct Bar {
    /// Steps of the epoch that were done when it was first shown.
    first: u64,
    began: Instant,
    drawn: Instant,
    /// None where plain lines are written.
    drawing: Option<indicatif::ProgressBar>,
}

impl ProgressBar {
    /// On standard error.
    pub fn new() -> Self {
        let screen = Screen::standard_error();
        let seconds = if matches!(screen, Screen::Terminal(_)) { 0.1 } else { 5.0 };
        ProgressBar::on(screen, Duration::from_secs_f64(seconds))
    }

    /// As plain lines to `out`, one every five seconds. Each is one write.
    pub fn to(out: impl Write + Send + 'static) -> Self {
        ProgressBar::on(Screen::lines(out), Duration::from_secs(5))
    }

    fn on(screen: Screen, refresh: Duration) -> Self {
        let printer = Printer::new(screen);
        ProgressBar { printer, refresh, every: Every::steps(10), bars: Default::default() }
    }

    /// The least time between two refreshes: 0.1 seconds by default in a terminal, 5 elsewhere.
    pub fn refresh(mut self, refresh: Duration) -> Self {
        self.refresh = refresh;
        self
    }

    /// How often it asks for metrics (see [`State::wants_metrics`]): every 10 steps by default.
    /// It shows what was logged last, whoever asked for it.
    pub fn every(mut self, every: Every) -> Self {
        self.every = every;
        self
    }

    /// Prints lines that do not break the bars. To be taken before the bar is given to the run.
    pub fn printer(&self) -> Printer {
        self.printer.clone()
    }

    /// Begins to show the epoch of `phase`, of which some steps may be done.
    fn begin(&mut self, phase: Phase, done: u64, state: &State) {
        let now = Instant::now();
        let drawing = match self.printer.screen() {
            Screen::Lines(_) => None,
            Screen::Terminal(bars) => {
                let status = Status::under_way(state, phase, done, Duration::ZERO);
                let bar = bars.add(indicatif::ProgressBar::no_length());
                let template = match status.total() {
                    Some(_) => "{prefix} {bar:16} {pos}/{len} {wide_msg}",
                    None => "{prefix} {pos} {wide_msg}",
                };
                bar.set_style(
                    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
                );
                bar.set_prefix(status.title());
                if let Some(total) = status.total() {
                    bar.set_length(total);
                }
                bar.set_position(done);
                bar.tick();
                Some(bar)
            }
        };
        self.end(phase);
        self.bars[phase as usize] = Some(Bar { first: done, began: now, drawn: now, drawing });
    }

    /// A step is done: shows it, if the last refresh is long enough ago.
    fn step(&mut self, phase: Phase, state: &State) {
        if self.bars[phase as usize].is_none() {
            self.begin(phase, state.progress(phase).steps_in_epoch.saturating_sub(1), state);
        }
        let Some(bar) = &mut self.bars[phase as usize] else { return };
        let now = Instant::now();
        if now.duration_since(bar.drawn) < self.refresh {
            return;
        }
        bar.drawn = now;
        let status = Status::under_way(state, phase, bar.first, now.duration_since(bar.began));
        match &bar.drawing {
            Some(drawing) => {
                drawing.set_position(status.progress.steps_in_epoch);
                drawing.set_message(status.details());
            }
            None => self.printer.line(&status.line()),
        }
    }

    /// Takes the bar of `phase` off the screen; says how much was done before it, and since when.
    fn end(&mut self, phase: Phase) -> Option<(u64, Duration)> {
        let bar = self.bars[phase as usize].take()?;
        if let (Some(drawing), Screen::Terminal(bars)) = (bar.drawing, self.printer.screen()) {
            drawing.finish_and_clear();
            bars.remove(&drawing);
        }
        let elapsed = bar.began.elapsed();
        // An evaluation within a training epoch is no time of that epoch.
        for outer in self.bars.iter_mut().flatten() {
            outer.began += elapsed;
        }
        Some((bar.first, elapsed))
    }
}

impl Default for ProgressBar {
    /// On standard error.
    fn default() -> Self {
        ProgressBar::new()
    }
}

impl<U: ?Sized> Callback<U> for ProgressBar {
    fn events(&self) -> Events {
        use Event::*;
        Events::of(&[
            TrainStart,
            TrainEpochStart,
            TrainStepEnd,
            TrainEpochEnd,
            TrainEnd,
            EvalStart,
            EvalEpochStart,
            EvalStepEnd,
            EvalEpochEnd,
            EvalEnd,
            PredictStart,
            PredictEpochStart,
            PredictStepEnd,
            PredictEpochEnd,
            PredictEnd,
            Notice,
        ])
    }

    fn metrics_every(&self) -> Every {
        self.every
    }

    fn on_event(&mut self, event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        use Event::*;
        if state.rank().index != 0 {
            return Ok(());
        }
        let Some(phase) = event.phase() else {
            state.notices().iter().for_each(|notice| self.printer.line(&format!("notice: {notice}")));
            return Ok(());
        };
        match event {
            TrainStepEnd | EvalStepEnd | PredictStepEnd => self.step(phase, state),
            TrainEpochStart | EvalEpochStart | PredictEpochStart => self.begin(phase, 0, state),
            // A paused epoch goes on without a start of its own.
            TrainStart | EvalStart | PredictStart => match state.progress(phase).steps_in_epoch {
                0 => {}
                done => self.begin(phase, done, state),
            },
            TrainEpochEnd | EvalEpochEnd | PredictEpochEnd => {
                if let Some((first, elapsed)) = self.end(phase) {
                    self.printer.line(&Status::ended(state, phase, first, elapsed).ended_line());
                }
            }
            _ => {
                if let Some((first, elapsed)) = self.end(phase) {
                    self.printer.line(&Status::under_way(state, phase, first, elapsed).paused_line());
                }
            }
        }
        Ok(())
    }

    fn on_error(&mut self, _state: &State, _unit: &mut U, _error: &Error) {
        for phase in Phase::ALL {
            self.end(phase);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use indicatif::{InMemoryTerm, MultiProgress, ProgressDrawTarget, TermLike};

    use super::*;
    use crate::{EvalUnit, Evaluate, Fit, Key, Run, Train, TrainUnit};

    const LOSS: Key = Key::mean("loss");

    struct Unit;

    impl TrainUnit for Unit {
        type Batch = f64;
        fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
            state.log(LOSS, batch, 1.0);
            Ok(())
        }
    }

    impl EvalUnit for Unit {
        type Batch = f64;
        fn eval_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
            self.train_step(state, batch)
        }
    }

    fn bar(terminal: &InMemoryTerm) -> ProgressBar {
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        ProgressBar::on(Screen::Terminal(MultiProgress::with_draw_target(target)), Duration::ZERO)
    }

    /// What is on the screen, with `~` for speeds and times, `#` and `-` for the two kinds of blocks.
    fn screen(terminal: &InMemoryTerm) -> Vec<String> {
        let masked = |part: &str| match part {
            part if part.ends_with("/s") => part.rsplit_once(' ').map_or("~", |(rest, _)| rest).to_owned(),
            part if part.ends_with(" left") => "~ left".to_owned(),
            part => part.replace(" in 0:00", ""),
        };
        let line = |line: &str| line.split(", ").map(masked).collect::<Vec<_>>().join(", ");
        terminal.contents().replace('\u{2588}', "#").replace('\u{2591}', "-").lines().map(line).collect()
    }

    #[test]
    fn a_terminal_has_a_bar_a_phase_and_a_line_for_what_is_done() {
        let terminal = InMemoryTerm::new(10, 80);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (look, at) = (Arc::clone(&seen), terminal.clone());
        let mut unit = Unit;
        let mut run = Run::new(&mut unit)
            .callback(bar(&terminal))
            .on(Event::EvalStepEnd, move |_: &mut State, _: &mut Unit| {
                look.lock().unwrap().push(screen(&at))
            });
        run.fit(&[1.0, 3.0, 8.0], &[5.0], Fit::epochs(1).eval_every(Every::steps(2))).unwrap();
        assert_eq!(
            *seen.lock().unwrap(),
            [[
                "train epoch 1/1 ##########------ 2/3, ~ left, loss 2.000",
                "eval epoch 1 ################ 1/1, ~ left, loss 5.000",
            ]]
        );
        assert_eq!(
            screen(&terminal),
            ["eval epoch 1: 1 step, ~, loss 5.000", "train epoch 1/1: 3 steps, ~, loss 4.000"]
        );
    }

    #[test]
    fn a_bar_that_goes_on_begins_where_the_epoch_was_paused() {
        let terminal = InMemoryTerm::new(10, 80);
        let mut unit = Unit;
        let mut run = Run::new(&mut unit).callback(bar(&terminal));
        let data = [1.0, 3.0, 8.0, 0.0];
        run.train(&data, Train::steps(2)).unwrap();
        assert_eq!(screen(&terminal), ["train epoch 1: paused at step 2/4, loss 2.000"]);
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
                bar("train epoch 1/1 ########-------- 2/4"),
                bar("train epoch 1/1 ############---- 3/4, ~ left, loss 4.000")
            ]
        );
    }

    #[test]
    fn an_evaluation_within_an_epoch_is_no_time_of_the_epoch() {
        let mut bar = bar(&InMemoryTerm::new(10, 80));
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
        let terminal = InMemoryTerm::new(10, 80);
        let bar = bar(&terminal);
        let (mut printer, direct) = (bar.printer(), terminal.clone());
        let mut unit = Unit;
        let mut run = Run::new(&mut unit).callback(bar).on(
            Event::EvalStepStart,
            move |state: &mut State, _: &mut Unit| -> Result<(), BoxError> {
                let step = state.eval().steps;
                writeln!(printer, "line {step}, {}", "long ".repeat(20))?;
                Ok(printer.suspend(|| direct.write_line("printed by another"))?)
            },
        );
        run.evaluate(&[1.0, 3.0], Evaluate::whole()).unwrap();
        let long = |step: u64| format!("line {step}, {}", "long ".repeat(20));
        let wrapped = |step: u64| [long(step)[..80].to_owned(), long(step)[80..].trim_end().to_owned()];
        let ([a, b], [c, d]) = (wrapped(0), wrapped(1));
        let printed = || "printed by another".to_owned();
        let last = "eval epoch 1: 2 steps, ~, loss 2.000".to_owned();
        let found: Vec<_> = terminal.contents().lines().map(|line| line.trim_end().to_owned()).collect();
        assert_eq!(found[..6], [a, b, printed(), c, d, printed()].map(|line| line.trim_end().to_owned()));
        assert_eq!(screen(&terminal)[6..], [last]);
    }

    #[test]
    fn an_error_leaves_no_bar_behind() {
        let terminal = InMemoryTerm::new(10, 80);
        let mut unit = Unit;
        let mut run = Run::new(&mut unit)
            .callback(bar(&terminal))
            .on(Event::TrainStepEnd, |_: &mut State, _: &mut Unit| -> Result<(), BoxError> {
                Err("no".into())
            });
        run.train(&[1.0, 3.0], Train::epochs(1)).unwrap_err();
        assert_eq!(terminal.contents(), "");
    }
}
