//! The dashboard of a run of this process.

use std::io::{self, IsTerminal, Write};
use std::mem;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use regimen::callback::{Event, Events, Every, ProgressBar, Ranks};
use regimen::run::Report;
use regimen::state::{Expected, Phase, Progress};
use regimen::{BoxError, Callback, Error, State};

use crate::model::{Amount, Condition, Model};
use crate::utc;
use crate::window::Window;

/// Shows the run in the whole terminal: curves, progress, rates, load, notices and checkpoints. A callback in place of a
/// [`ProgressBar`].
///
/// It draws on standard output, on a thread of its own, at most ten times a second, and a step never waits for the
/// terminal. The keys are those of [`Watch`](crate::Watch), and `?` lists them. `p` pauses the run at its next step, after
/// a question. Ctrl-C pauses it at once, as [`Signals`](regimen::signal::Signals) do, and a second one ends the process
/// with status 130. `q` leaves the dashboard: the run goes on with a progress bar.
///
/// It has the terminal during a call of the run. At the end of the call the terminal shows its former content, the
/// [notices](State::notices) of the call, and the [report](Report) if the call trained. The terminal is restored also
/// after an error, and before the message of a panic. A process that is killed leaves the terminal as it is: give the run
/// [`Signals`](regimen::signal::Signals), so that SIGTERM pauses it instead.
///
/// If standard output or standard input is not a terminal, or the process is in its background (`train &`), it is a
/// [`ProgressBar`]. Among several ranks only the first shows anything. A program that prints while it is shown writes over
/// it; Ctrl-L draws it anew.
///
/// A terminal may not read, as one behind a connection that hangs. The run goes on meanwhile. If it still does not read
/// for two seconds at the end of the call, the dashboard is left on it, and nothing more is printed there.
///
/// Curves are of the metrics that were logged in this process. `regimen watch` shows those of all starts.
///
/// ```
/// use regimen::Run;
/// use regimen_dashboard::Dashboard;
///
/// # fn example<U>(run: Run<'_, U>) -> Run<'_, U> {
/// run.callback(Dashboard::new().title("digits").checkpoints("runs/digits"))
/// # }
/// ```
#[derive(Debug)]
pub struct Dashboard {
    title: String,
    every: Every,
    checkpoints: Option<PathBuf>,
    shown: Shown,
    /// The notices since it has the terminal: nobody may have seen them there.
    notices: Vec<String>,
    began: Instant,
    /// The steps of the phase under way when it was first seen, and since when.
    first: (Phase, u64, Instant),
    refreshed: Instant,
}

#[derive(Debug)]
enum Shown {
    /// Nothing yet.
    Nothing,
    Window(Window),
    Bar(Box<ProgressBar>),
    /// Nothing any more: the terminal does not read, and a writer waits for it.
    Silence,
}

/// The least time between two updates of the counts.
const REFRESH: Duration = Duration::from_millis(100);

impl Dashboard {
    /// The dashboard of a run, under the name of the program.
    pub fn new() -> Self {
        let program = std::env::args_os().next().map(PathBuf::from);
        let name = program.as_deref().and_then(|program| program.file_stem());
        let now = Instant::now();
        Dashboard {
            title: name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            every: Every::steps(10).or(Every::epochs(1)),
            checkpoints: None,
            shown: Shown::Nothing,
            notices: Vec::new(),
            began: now,
            first: (Phase::Train, 0, now),
            refreshed: now,
        }
    }

    /// The name above the dashboard. Default: that of the program.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// The cadence at which it reads metrics (see [`State::wants_metrics`]): the points of the curves. Default: every 10
    /// steps and every epoch.
    pub fn every(mut self, every: Every) -> Self {
        self.every = every;
        self
    }

    /// Lists the checkpoints in the folder `dir`. Default: none are listed.
    pub fn checkpoints(mut self, dir: impl Into<PathBuf>) -> Self {
        self.checkpoints = Some(dir.into());
        self
    }

    /// Takes the terminal, or makes a progress bar.
    fn begin(&mut self, state: &State) {
        if let Shown::Nothing = self.shown {
            let model = Model { title: self.title.clone(), ..Model::default() };
            let window = Window::open(model, state.pause_handle(), self.checkpoints.as_deref()).ok();
            self.began = Instant::now();
            self.shown = window.map_or_else(|| Shown::Bar(Box::default()), Shown::Window);
        }
    }

    /// Gives the terminal back and prints the notices.
    fn end(&mut self) {
        let Shown::Window(window) = &mut self.shown else { return };
        self.shown = if window.close() { Shown::Nothing } else { Shown::Silence };
        for notice in mem::take(&mut self.notices) {
            self.print(&format!("notice: {notice}"));
        }
    }

    /// Prints a line, unless it would wait for a terminal that does not read.
    fn print(&self, line: &str) {
        let mut error = io::stderr();
        if !matches!(self.shown, Shown::Silence) || !error.is_terminal() {
            // An output that is closed is no error of the run.
            let _ = writeln!(error, "{line}");
        }
    }

    /// Shows the counts, if they were shown long enough ago or if `must`.
    fn show_progress(&mut self, phase: Phase, state: &State, must: bool) {
        let now = Instant::now();
        let Shown::Window(window) = &self.shown else { return };
        if !must && now.duration_since(self.refreshed) < REFRESH {
            return;
        }
        self.refreshed = now;
        let progress = state.progress_of(phase);
        if self.first.0 != phase || progress.steps_in_epoch < self.first.1 {
            self.first = (phase, progress.steps_in_epoch, now);
        }
        let (_, first, since) = self.first;
        let speed = progress.steps_in_epoch.saturating_sub(first) as f64
            / now.duration_since(since).as_secs_f64().max(1e-9);
        let elapsed = now.duration_since(self.began).as_secs_f64();
        let epoch = epoch(phase, progress, state.expected(phase), speed);
        let train = (state.entry_point().phase() == Phase::Train)
            .then(|| (state.train_progress(), state.expected(Phase::Train)));
        let stops = state.stopping().is_some();
        window.update(|model| {
            model.elapsed = Some(elapsed);
            model.epoch = Some(epoch);
            if stops {
                model.condition = Condition::Pausing;
            }
            if let Some((progress, expected)) = train {
                model.pace.observe(elapsed, progress.steps);
                model.training = Some(training(progress, expected, model.pace.steps_per_second()));
            }
        });
    }

    /// Adds the metrics of the training step, or over the epoch that ended.
    fn add_metrics(&self, phase: Phase, is_over_epoch: bool, state: &State) {
        let Shown::Window(window) = &self.shown else { return };
        let (train, progress) = (state.train_progress(), state.progress_of(phase));
        let values = state.metrics(phase).iter().filter_map(|metric| {
            let value =
                if is_over_epoch { metric.in_epoch(progress.epochs) } else { metric.in_step(progress.steps) };
            Some((metric.key().name().to_owned(), value?))
        });
        let values: Vec<(String, f64)> = values.collect();
        window.update(|model| {
            for (name, value) in values {
                // The phases of the loop are all known.
                let _ = model.metrics.push((phase.name(), &name), train.steps, value, is_over_epoch);
            }
        });
    }

    fn follow(&mut self, event: Event, state: &State) {
        use Event::*;
        let Some(phase) = event.phase() else {
            for notice in state.notices() {
                let Shown::Window(window) = &self.shown else {
                    self.print(&format!("notice: {notice}"));
                    continue;
                };
                self.notices.push(notice.clone());
                let time = utc::time_of_day(utc::of(SystemTime::now()));
                window.update(|model| model.notices.push(time, notice));
            }
            return;
        };
        match event {
            TrainStepEnd | EvalStepEnd | PredictStepEnd => {
                if event == TrainStepEnd && state.is_due(self.every) {
                    self.add_metrics(phase, false, state);
                }
                self.show_progress(phase, state, false);
            }
            TrainEpochEnd | EvalEpochEnd | PredictEpochEnd => {
                self.add_metrics(phase, true, state);
                self.show_progress(phase, state, true);
            }
            _ => self.show_progress(phase, state, true),
        }
    }
}

impl Default for Dashboard {
    fn default() -> Self {
        Dashboard::new()
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.end();
    }
}

impl<U: ?Sized> Callback<U> for Dashboard {
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

    fn on_event(&mut self, event: Event, state: &mut State, unit: &mut U) -> Result<(), BoxError> {
        self.begin(state);
        if let Shown::Window(window) = &self.shown
            && window.was_left()
        {
            self.end();
            if matches!(self.shown, Shown::Nothing) {
                self.shown = Shown::Bar(Box::default());
            }
        }
        match &mut self.shown {
            Shown::Bar(bar) => Callback::<U>::on_event(&mut **bar, event, state, unit),
            _ => {
                self.follow(event, state);
                Ok(())
            }
        }
    }

    fn on_error(&mut self, state: &State, unit: &mut U, error: &Error) {
        self.end();
        if let Shown::Bar(bar) = &mut self.shown {
            Callback::<U>::on_error(&mut **bar, state, unit, error);
        }
    }

    fn on_report(&mut self, report: &Report) {
        if let Shown::Bar(bar) = &mut self.shown {
            return Callback::<U>::on_report(&mut **bar, report);
        }
        self.end();
        if report.phase == Phase::Train {
            self.print(&report.to_string());
        }
    }
}

/// The open epoch of a phase.
fn epoch(phase: Phase, progress: Progress, expected: Expected, speed: f64) -> Amount {
    // Between two epochs it is the one that has ended.
    let (number, done) = match (progress.steps_in_epoch, progress.epochs) {
        (0, 1..) if phase != Phase::Train || expected.epochs == Some(progress.epochs) => {
            (progress.epochs, progress.steps_in_last_epoch)
        }
        (done, epochs) => (epochs + 1, done),
    };
    let name = if phase == Phase::Train { "epoch" } else { phase.name() };
    let label = match expected.epochs {
        Some(all) if phase == Phase::Train => format!("{name} {number}/{all}"),
        _ => format!("{name} {number}"),
    };
    Amount { label, done, total: expected.steps_in_epoch, left: left(expected.steps_in_epoch, done, speed) }
}

/// The whole training, as far as its limit is known.
fn training(progress: Progress, expected: Expected, speed: Option<f64>) -> Amount {
    let of_epochs =
        expected.epochs.zip(expected.steps_in_epoch).map(|(epochs, steps)| epochs.saturating_mul(steps));
    let total = [expected.steps, of_epochs].into_iter().flatten().min();
    let left = left(total, progress.steps, speed.unwrap_or(0.0));
    Amount { label: "training".to_owned(), done: progress.steps, total, left }
}

fn left(total: Option<u64>, done: u64, speed: f64) -> Option<f64> {
    let total = total.filter(|_| 0.0 < speed)?;
    Some(total.saturating_sub(done) as f64 / speed)
}
