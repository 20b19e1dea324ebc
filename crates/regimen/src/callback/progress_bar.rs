//! A progress bar in terminals, and lines elsewhere.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use super::printer::Screen;
use super::status::Status;
use super::{Event, Events, Every, Printer, Ranks};
use crate::run::Report;
use crate::state::Phase;
use crate::{BoxError, Callback, Error, State};

/// Shows how far each phase has come: a bar with speed, remaining time and metrics in a terminal,
/// plain lines if the output is not a terminal.
///
/// It writes to standard error. A terminal has one bar for each phase under way, redrawn at most ten
/// times a second; other outputs get a line every five seconds. An epoch that ends or is paused gets a
/// separate line, and the end of training the [report](crate::run::Report). Speed and time are those
/// of the epoch in this call, without evaluations within it; metrics are those over the epoch so far,
/// and never an earlier one's. Metrics that are many, such as those of a `SystemMonitor`, norms and learning rates of
/// groups, are left to logs. [Notices](State::notices) are printed too.
///
/// A bar is one line, however narrow its terminal. An ellipsis replaces the parts that do not fit: first
/// the metrics behind the first one, then speed, bar, remaining time, the metric.
///
/// Other output would tear the bar apart: print it through its [`printer`](ProgressBar::printer). An
/// output that is closed or full is no error; the run goes on unseen. Among several ranks only the first
/// shows anything.
#[derive(Debug)]
pub struct ProgressBar {
    printer: Printer,
    refresh: Duration,
    every: Every,
    momentum: Option<f64>,
    bars: [Option<Bar>; 3],
}

/// An epoch that is shown.
#[derive(Debug)]
struct Bar {
    /// Steps of the epoch that were done when it was first shown.
    first: u64,
    began: Instant,
    drawn: Instant,
    /// The smoothed values, by metric.
    running: BTreeMap<String, f64>,
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
        ProgressBar { printer, refresh, every: Every::steps(10), momentum: None, bars: Default::default() }
    }

    /// The least time between two refreshes: 0.1 seconds by default in a terminal, 5 elsewhere.
    pub fn refresh(mut self, refresh: Duration) -> Self {
        self.refresh = refresh;
        self
    }

    /// The cadence at which it reads metrics (see [`State::wants_metrics`]). Default: every 10 steps.
    /// It shows the newest value in any case.
    pub fn every(mut self, every: Every) -> Self {
        self.every = every;
        self
    }

    /// Shows smoothed values while an epoch is under way, instead of the means over the epoch so far: first the value
    /// itself, then `momentum * smoothed + (1 - momentum) * value`. A usual momentum is 0.95. The line of an epoch that
    /// ends has the means.
    ///
    /// The values are those of the steps at which it [reads](ProgressBar::every) metrics. A momentum that is not from
    /// 0 to 1 is an error when the run starts.
    pub fn smoothed(mut self, momentum: f64) -> Self {
        self.momentum = Some(momentum);
        self
    }

    /// Prints lines that do not break the bars. To be taken before the bar is given to the run.
    pub fn printer(&self) -> Printer {
        self.printer.clone()
    }

    /// Begins to show the epoch of `phase`, of which some steps may be done.
    fn begin(&mut self, phase: Phase, done: u64, state: &State) {
        let now = Instant::now();
        self.end(phase);
        self.bars[phase as usize] =
            Some(Bar { first: done, began: now, drawn: now, running: BTreeMap::new() });
        let status = Status::under_way(state, phase, done, Duration::ZERO);
        self.printer.screen().show(phase as usize, Some(status.bar()));
    }

    /// A step is done: shows it, if the last refresh is long enough ago.
    fn step(&mut self, phase: Phase, state: &State) {
        if self.bars[phase as usize].is_none() {
            self.begin(phase, state.progress_of(phase).steps_in_epoch.saturating_sub(1), state);
        }
        let Some(bar) = &mut self.bars[phase as usize] else { return };
        if let Some(momentum) = self.momentum.filter(|_| state.is_due(self.every)) {
            let step = state.progress_of(phase).steps;
            for metric in state.metrics(phase).iter() {
                let Some(value) = metric.in_step(step) else { continue };
                let running = bar.running.entry(metric.key().name().to_owned()).or_insert(value);
                *running = momentum * *running + (1.0 - momentum) * value;
            }
        }
        let now = Instant::now();
        if now.duration_since(bar.drawn) < self.refresh {
            return;
        }
        bar.drawn = now;
        let mut status = Status::under_way(state, phase, bar.first, now.duration_since(bar.began));
        for (name, value) in &mut status.metrics {
            *value = bar.running.get(*name).copied().unwrap_or(*value);
        }
        match self.printer.screen() {
            Screen::Terminal(_) => self.printer.screen().show(phase as usize, Some(status.bar())),
            Screen::Lines(_) => self.printer.line(&status.line()),
        }
    }

    /// Takes the bar of `phase` off the screen; says how much was done before it, and since when.
    fn end(&mut self, phase: Phase) -> Option<(u64, Duration)> {
        let bar = self.bars[phase as usize].take()?;
        self.printer.screen().show(phase as usize, None);
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

    fn ranks(&self) -> Ranks {
        Ranks::First
    }

    fn on_event(&mut self, event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        use Event::*;
        let Some(phase) = event.phase() else {
            state.notices().iter().for_each(|notice| self.printer.line(&format!("notice: {notice}")));
            return Ok(());
        };
        match event {
            TrainStart | EvalStart | PredictStart
                if self.momentum.is_some_and(|m| !(0.0..=1.0).contains(&m)) =>
            {
                let momentum = self.momentum.unwrap_or_default();
                return Err(
                    format!("the momentum of a smoothed value is {momentum}; give one from 0 to 1").into()
                );
            }
            TrainStepEnd | EvalStepEnd | PredictStepEnd => self.step(phase, state),
            TrainEpochStart | EvalEpochStart | PredictEpochStart => self.begin(phase, 0, state),
            // A paused epoch continues without a start event.
            TrainStart | EvalStart | PredictStart => match state.progress_of(phase).steps_in_epoch {
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

    fn on_report(&mut self, report: &Report) {
        // What came of an evaluation or a prediction is said by the line of its epoch.
        if report.phase == Phase::Train {
            self.printer.line(&report.to_string());
        }
    }
}

#[cfg(test)]
mod tests;
