//! The progress of a run in lines.

use std::io::Write;
use std::time::Instant;

use super::clock::Clock;
use super::printer::Screen;
use super::status::clock;
use super::{Event, Events, Every, Printer};
use crate::{BoxError, Callback, State};

/// Prints a line when a phase starts, when its epochs start and end, and when it ends, with the time since
/// the start of the run in this process:
///
/// ```text
/// 0:00 train start: 0 epochs, 0 steps
/// 0:00 train epoch start: 0 epochs, 0 steps
/// 1:40 train epoch end: 1 epoch, 500 steps
/// ```
///
/// It prints on every rank, and each line begins with the rank if there are several: a rank that waits for
/// the others shows in the last lines. An output that is closed or full is no error.
#[derive(Debug)]
pub struct ProgressReporter {
    printer: Printer,
    every: Every,
    clock: Clock,
    began: Option<Instant>,
}

impl ProgressReporter {
    /// On standard error.
    pub fn new() -> Self {
        ProgressReporter::on(Printer::new(Screen::standard_error()))
    }

    /// To `out`. Each line is one write.
    pub fn to(out: impl Write + Send + 'static) -> Self {
        ProgressReporter::on(Printer::new(Screen::lines(out)))
    }

    /// Above the bars of a [`ProgressBar`](super::ProgressBar):
    ///
    /// ```
    /// # use regimen::Run;
    /// # use regimen::callback::{ProgressBar, ProgressReporter};
    /// # fn example<U>(run: Run<'_, U>) -> Run<'_, U> {
    /// let bar = ProgressBar::new();
    /// let lines = ProgressReporter::on(bar.printer());
    /// run.callback(lines).callback(bar)
    /// # }
    /// ```
    pub fn on(printer: Printer) -> Self {
        ProgressReporter { printer, every: Every::NEVER, clock: Instant::now, began: None }
    }

    /// The cadence of lines at the end of steps, by the counts of their phase. Default: never.
    pub fn every(mut self, every: Every) -> Self {
        self.every = every;
        self
    }
}

impl Default for ProgressReporter {
    /// On standard error.
    fn default() -> Self {
        ProgressReporter::new()
    }
}

impl<U: ?Sized> Callback<U> for ProgressReporter {
    fn events(&self) -> Events {
        use Event::*;
        let steps = if self.every == Every::NEVER {
            Events::NONE
        } else {
            TrainStepEnd | EvalStepEnd | PredictStepEnd
        };
        let epochs = TrainEpochStart | TrainEpochEnd | EvalEpochStart | EvalEpochEnd;
        let passes = PredictEpochStart | PredictEpochEnd | PredictStart | PredictEnd;
        steps | epochs | passes | TrainStart | TrainEnd | EvalStart | EvalEnd
    }

    fn on_event(&mut self, event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        use Event::*;
        let now = (self.clock)();
        let seconds = now.duration_since(*self.began.get_or_insert(now)).as_secs_f64();
        let (rank, progress) = (state.rank(), state.progress());
        if let TrainStart | EvalStart | PredictStart = event {
            self.every.check("`ProgressReporter::every`")?;
        }
        if matches!(event, TrainStepEnd | EvalStepEnd | PredictStepEnd) && !state.is_due(self.every) {
            return Ok(());
        }
        let of = if rank.count > 1 { format!("rank {}: ", rank.index) } else { String::new() };
        self.printer.line(&format!("{of}{} {event}: {progress}", clock(seconds)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::clock::by_hand::{Takes, live, now};
    use super::*;
    use crate::data::Rank;
    use crate::run::{Evaluate, Train};
    use crate::{Fit, Run};

    /// An output that is read afterwards.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[track_caller]
    fn check(every: Every, rank: Rank, calls: impl FnOnce(&mut Run<'_, Takes>), expected: &[&str]) {
        let lines = Lines::default();
        let reporter = ProgressReporter { clock: now, ..ProgressReporter::to(lines.clone()) };
        let mut unit = Takes;
        let mut run = Run::new(&mut unit).rank(rank).callback(reporter.every(every));
        calls(&mut run);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_phase_and_each_epoch_has_a_line_for_its_start_and_its_end() {
        let calls = |run: &mut Run<'_, Takes>| {
            run.fit(&[30, 40], &[3600], Fit::epochs(1)).unwrap();
        };
        check(
            Every::NEVER,
            Rank::default(),
            calls,
            &[
                "0:00 train start: 0 epochs, 0 steps",
                "0:00 train epoch start: 0 epochs, 0 steps",
                "1:10 train epoch end: 1 epoch, 2 steps",
                "1:10 eval start: 0 epochs, 0 steps",
                "1:10 eval epoch start: 0 epochs, 0 steps",
                "1:01:10 eval epoch end: 1 epoch, 1 step",
                "1:01:10 eval end: 1 epoch, 1 step",
                "1:01:10 train end: 1 epoch, 2 steps",
            ],
        );
    }

    #[test]
    fn a_paused_run_says_where_and_a_rank_its_number() {
        let calls = |run: &mut Run<'_, Takes>| {
            run.train(&[1, 2], Train::steps(1)).unwrap();
            run.train(&[1, 2], Train::epochs(1)).unwrap();
            run.evaluate(&[1], Evaluate::whole()).unwrap();
        };
        check(
            Every::steps(1),
            Rank { index: 1, count: 2 },
            calls,
            &[
                "rank 1: 0:00 train start: 0 epochs, 0 steps",
                "rank 1: 0:00 train epoch start: 0 epochs, 0 steps",
                "rank 1: 0:01 train step end: 0 epochs, 1 step, 1 of them in an open epoch",
                "rank 1: 0:01 train end: 0 epochs, 1 step, 1 of them in an open epoch",
                "rank 1: 0:01 train start: 0 epochs, 1 step, 1 of them in an open epoch",
                "rank 1: 0:03 train step end: 0 epochs, 2 steps, 2 of them in an open epoch",
                "rank 1: 0:03 train epoch end: 1 epoch, 2 steps",
                "rank 1: 0:03 train end: 1 epoch, 2 steps",
                "rank 1: 0:03 eval start: 0 epochs, 0 steps",
                "rank 1: 0:03 eval epoch start: 0 epochs, 0 steps",
                "rank 1: 0:04 eval step end: 0 epochs, 1 step, 1 of them in an open epoch",
                "rank 1: 0:04 eval epoch end: 1 epoch, 1 step",
                "rank 1: 0:04 eval end: 1 epoch, 1 step",
            ],
        );
    }

    #[test]
    fn steps_have_lines_at_the_cadence() {
        let calls = |run: &mut Run<'_, Takes>| {
            run.train(&[1, 1, 1], Train::epochs(1)).unwrap();
        };
        let expected = [
            "0:00 train start: 0 epochs, 0 steps",
            "0:00 train epoch start: 0 epochs, 0 steps",
            "0:02 train step end: 0 epochs, 2 steps, 2 of them in an open epoch",
            "0:03 train epoch end: 1 epoch, 3 steps",
            "0:03 train end: 1 epoch, 3 steps",
        ];
        check(Every::steps(2), Rank::default(), calls, &expected);
    }

    #[test]
    fn each_call_has_its_lines_over_pauses_failures_restarts_and_passes_by_hand() {
        let lines = Lines::default();
        let reporter = || ProgressReporter { clock: now, ..ProgressReporter::to(lines.clone()) };
        live(|run| run.callback(reporter()), &mut [Takes, Takes]);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "0:00 train start: 0 epochs, 0 steps",
                "0:00 train end: 0 epochs, 0 steps",
                "16:40 train start: 0 epochs, 0 steps",
                "16:40 train epoch start: 0 epochs, 0 steps",
                "17:04 train end: 0 epochs, 2 steps, 2 of them in an open epoch",
                // It fails.
                "33:44 train start: 0 epochs, 2 steps, 2 of them in an open epoch",
                "1:07:13 eval start: 0 epochs, 0 steps",
                "1:07:13 eval epoch start: 0 epochs, 0 steps",
                "1:07:59 eval epoch end: 1 epoch, 2 steps",
                "1:07:59 eval end: 1 epoch, 2 steps",
                "0:00 train start: 0 epochs, 2 steps, 2 of them in an open epoch",
                "0:15 train epoch end: 1 epoch, 3 steps",
                "0:15 eval start: 0 epochs, 0 steps",
                "0:15 eval epoch start: 0 epochs, 0 steps",
                "0:37 eval epoch end: 1 epoch, 1 step",
                "0:37 eval end: 1 epoch, 1 step",
                "0:37 train end: 1 epoch, 3 steps",
                "17:17 predict start: 0 epochs, 0 steps",
                "17:17 predict epoch start: 0 epochs, 0 steps",
                "17:43 predict epoch end: 1 epoch, 1 step",
                "17:43 predict end: 1 epoch, 1 step",
            ]
        );
    }

    #[test]
    fn a_cadence_of_zero_is_refused_before_the_first_step() {
        let mut unit = Takes;
        let reporter = ProgressReporter::to(std::io::sink()).every(Every::steps(0));
        let error = Run::new(&mut unit).callback(reporter).train(&[1], Train::epochs(1)).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "callback ProgressReporter failed at train start in train at epoch 0 step 0: `ProgressReporter::every`: \
             a cadence of 0 is never due; give 1 or more"
        );
    }
}
