//! What a progress bar says, as text.

use std::fmt::Write;
use std::time::Duration;

use crate::{Expected, Metric, Phase, Progress, State};

/// How far an epoch has come.
#[derive(Debug)]
pub(super) struct Status<'a> {
    pub(super) phase: Phase,
    pub(super) progress: Progress,
    pub(super) expected: Expected,
    /// Steps since it was first shown: fewer than those of the epoch where a paused one goes on.
    pub(super) steps: u64,
    /// The time those steps took.
    pub(super) elapsed: Duration,
    pub(super) metrics: Vec<(&'a str, f64)>,
}

impl<'a> Status<'a> {
    /// The epoch of `phase` under way, which had `first` steps `elapsed` ago.
    pub(super) fn under_way(state: &'a State, phase: Phase, first: u64, elapsed: Duration) -> Self {
        let metrics = state.metrics(phase).iter();
        let so_far = |metric: &'a Metric| Some((metric.key().name(), metric.so_far()?));
        let progress = state.progress(phase);
        Status {
            phase,
            progress,
            expected: state.expected(phase),
            steps: progress.steps_in_epoch.saturating_sub(first),
            elapsed,
            metrics: metrics.filter_map(so_far).collect(),
        }
    }

    /// The epoch of `phase` that has just ended.
    pub(super) fn ended(state: &'a State, phase: Phase, first: u64, elapsed: Duration) -> Self {
        // As it was right before its end was counted.
        let counted = state.progress(phase);
        let steps_in_epoch = counted.steps_in_last_epoch;
        let progress = Progress { epochs: counted.epochs.saturating_sub(1), steps_in_epoch, ..counted };
        let began = counted.steps.saturating_sub(steps_in_epoch);
        let metrics = state.metrics(phase).iter().filter(|metric| metric.logged_at() >= began);
        let over_epoch = |metric: &'a Metric| Some((metric.key().name(), metric.epoch()?));
        Status {
            phase,
            progress,
            expected: state.expected(phase),
            steps: steps_in_epoch.saturating_sub(first),
            elapsed,
            metrics: metrics.filter_map(over_epoch).collect(),
        }
    }

    /// `train epoch 2/10`, from 1.
    pub(super) fn title(&self) -> String {
        let epoch = self.progress.epochs + 1;
        match self.expected.epochs {
            Some(epochs) => format!("{} epoch {epoch}/{epochs}", self.phase),
            None => format!("{} epoch {epoch}", self.phase),
        }
    }

    /// Steps after which the epoch ends, or the limit of steps pauses it.
    pub(super) fn total(&self) -> Option<u64> {
        let Progress { steps, steps_in_epoch, .. } = self.progress;
        let limit =
            self.expected.steps.map(|limit| limit.saturating_sub(steps).saturating_add(steps_in_epoch));
        [self.expected.steps_in_epoch, limit].into_iter().flatten().min()
    }

    /// `12.5/s, 0:03 left, train/loss 0.3124`: speed, time to the total, metrics.
    pub(super) fn details(&self) -> String {
        let mut text = self.speed();
        let left = self.total().map(|total| total.saturating_sub(self.progress.steps_in_epoch));
        if let (Some(left), 1..) = (left, self.steps) {
            let seconds = self.elapsed.as_secs_f64() * left as f64 / self.steps as f64;
            _ = write!(text, ", {} left", clock(seconds));
        }
        text + &self.metrics_text()
    }

    /// A line of its own, while the epoch is under way.
    pub(super) fn line(&self) -> String {
        format!("{}: {}, {}", self.title(), self.position(), self.details())
    }

    /// The last line of an epoch.
    pub(super) fn ended_line(&self) -> String {
        let (steps, time) = (self.progress.steps_in_epoch, clock(self.elapsed.as_secs_f64()));
        let plural = if steps == 1 { "" } else { "s" };
        format!("{}: {steps} step{plural} in {time}, {}{}", self.title(), self.speed(), self.metrics_text())
    }

    /// The last line where the epoch is left open.
    pub(super) fn paused_line(&self) -> String {
        format!("{}: paused at {}{}", self.title(), self.position(), self.metrics_text())
    }

    fn position(&self) -> String {
        let done = self.progress.steps_in_epoch;
        match self.expected.steps_in_epoch {
            Some(total) => format!("step {done}/{total}"),
            None => format!("step {done}"),
        }
    }

    fn speed(&self) -> String {
        let speed = self.steps as f64 / self.elapsed.as_secs_f64().max(1e-9);
        match speed >= 1.0 || self.steps == 0 {
            true => format!("{}/s", short(speed)),
            false => format!("{} s/step", short(1.0 / speed)),
        }
    }

    fn metrics_text(&self) -> String {
        self.metrics
            .iter()
            .fold(String::new(), |text, (name, value)| text + &format!(", {name} {}", short(*value)))
    }
}

/// Four significant digits.
fn short(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    if !(1e-3..1e6).contains(&size) {
        return format!("{value:.3e}");
    }
    let digits_before = size.log10().floor() as i32 + 1;
    let decimals = usize::try_from(4 - digits_before).unwrap_or(0);
    format!("{value:.decimals$}")
}

/// `0:07`, `12:30`, `3:00:00`.
fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(done: u64, first: u64, expected: Expected, seconds: f64) -> Status<'static> {
        let progress = Progress { epochs: 1, steps: 10 + done, steps_in_epoch: done, ..Progress::default() };
        let (phase, elapsed) = (Phase::Train, Duration::from_secs_f64(seconds));
        Status {
            phase,
            progress,
            expected,
            steps: done - first,
            elapsed,
            metrics: vec![("train/loss", 0.25)],
        }
    }

    fn expected(steps_in_epoch: Option<u64>, epochs: Option<u64>, steps: Option<u64>) -> Expected {
        Expected { steps_in_epoch, epochs, steps }
    }

    #[test]
    fn a_line_says_where_how_fast_and_how_long() {
        let check = |status: Status<'_>, line: &str| assert_eq!(status.line(), line);
        let known = expected(Some(10), Some(3), None);
        check(status(4, 0, known, 2.0), "train epoch 2/3: step 4/10, 2.000/s, 0:03 left, train/loss 0.2500");
        // Six steps were made before a pause: they say nothing of the speed.
        check(
            status(8, 6, known, 200.0),
            "train epoch 2/3: step 8/10, 100.0 s/step, 3:20 left, train/loss 0.2500",
        );
        check(status(0, 0, known, 0.0), "train epoch 2/3: step 0/10, 0/s, train/loss 0.2500");
        check(status(4, 0, Expected::default(), 2.0), "train epoch 2: step 4, 2.000/s, train/loss 0.2500");
        // A limit of 16 steps, 14 of which are done, comes before the end of the epoch.
        let limited = expected(Some(10), None, Some(16));
        check(
            status(4, 0, limited, 7200.0),
            "train epoch 2: step 4/10, 1800 s/step, 1:00:00 left, train/loss 0.2500",
        );
        assert_eq!(status(4, 0, limited, 1.0).total(), Some(6));
    }

    #[test]
    fn the_last_line_says_what_became_of_the_epoch() {
        let known = expected(Some(10), Some(3), None);
        assert_eq!(
            status(10, 0, known, 4.0).ended_line(),
            "train epoch 2/3: 10 steps in 0:04, 2.500/s, train/loss 0.2500"
        );
        assert_eq!(
            status(1, 0, known, 4.0).ended_line(),
            "train epoch 2/3: 1 step in 0:04, 4.000 s/step, train/loss 0.2500"
        );
        assert_eq!(
            status(4, 0, known, 4.0).paused_line(),
            "train epoch 2/3: paused at step 4/10, train/loss 0.2500"
        );
    }

    #[test]
    fn numbers_have_four_digits() {
        let check = |value: f64, text: &str| assert_eq!(short(value), text);
        check(0.0, "0");
        check(1.0, "1.000");
        check(-0.031_25, "-0.03125");
        check(0.001, "0.001000");
        check(0.000_999_9, "9.999e-4");
        check(123.456, "123.5");
        check(123_456.0, "123456");
        check(1e6, "1.000e6");
        check(f64::NAN, "NaN");
        check(f64::NEG_INFINITY, "-inf");
    }
}
