//! The text of a progress bar.

use std::fmt::Write;
use std::time::Duration;

use super::line::Line;
use crate::State;
use crate::metric::Metric;
use crate::state::{Expected, Phase, Progress};
use crate::text::{Count, Short};

/// The progress of an epoch.
#[derive(Debug)]
pub(super) struct Status<'a> {
    pub(super) phase: Phase,
    pub(super) progress: Progress,
    pub(super) expected: Expected,
    /// Steps since it was first shown: fewer than those of the epoch if a paused one goes on.
    pub(super) steps: u64,
    /// The time those steps took.
    pub(super) elapsed: Duration,
    pub(super) metrics: Vec<(&'a str, f64)>,
}

/// Begins of the names of metrics that are many and long: they are for logs.
const FOR_LOGS: [&str; 4] = ["system/", "parameter_norm/", "gradient_norm/", "learning_rate/"];

fn is_shown(metric: &Metric) -> bool {
    !FOR_LOGS.iter().any(|begin| metric.key().name().starts_with(begin))
}

impl<'a> Status<'a> {
    /// The epoch of `phase` under way, which had `first` steps `elapsed` ago.
    pub(super) fn under_way(state: &'a State, phase: Phase, first: u64, elapsed: Duration) -> Self {
        let metrics = state.metrics(phase).iter().filter(|metric| is_shown(metric));
        let so_far = |metric: &'a Metric| Some((metric.key().name(), metric.so_far()?));
        let progress = state.progress_of(phase);
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
        let counted = state.progress_of(phase);
        let steps_in_epoch = counted.steps_in_last_epoch;
        let progress = Progress { epochs: counted.epochs.saturating_sub(1), steps_in_epoch, ..counted };
        let metrics = state.metrics(phase).iter().filter(|metric| is_shown(metric));
        let over_epoch = |metric: &'a Metric| Some((metric.key().name(), metric.in_epoch(counted.epochs)?));
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
        [self.expected.steps_in_epoch, limit].into_iter().flatten().min().filter(|total| 0 < *total)
    }

    /// A bar in a terminal: `train epoch 2/10 ####---- 8/16, 12.50/s, 0:03 left, loss 0.3124`.
    pub(super) fn bar(&self) -> Line {
        let mut line = Line::default();
        let done = self.progress.steps_in_epoch;
        line.add(0, self.title());
        match self.total() {
            None => line.add(0, format!(" step {done}")),
            Some(total) => {
                let full = (done.min(total) as f64 / total as f64 * BLOCKS as f64) as usize;
                line.add(3, format!(" {}{}", "\u{2588}".repeat(full), "\u{2591}".repeat(BLOCKS - full)));
                line.add(0, format!(" {done}/{total}"));
            }
        }
        self.speed().into_iter().for_each(|speed| line.add(4, format!(", {speed}")));
        self.left().into_iter().for_each(|left| line.add(2, format!(", {left} left")));
        for (i, (name, value)) in self.metrics.iter().enumerate() {
            let rank = if i == 0 { 1 } else { 4 + i };
            line.add(rank, format!(", {} {}", self.short(name), Short(*value)));
        }
        line
    }

    /// A separate line, while the epoch is under way.
    pub(super) fn line(&self) -> String {
        let mut text = format!("{}: {}", self.title(), self.position());
        self.speed().into_iter().for_each(|speed| _ = write!(text, ", {speed}"));
        self.left().into_iter().for_each(|left| _ = write!(text, ", {left} left"));
        text + &self.metrics_text()
    }

    /// The last line of an epoch.
    pub(super) fn ended_line(&self) -> String {
        let all = self.progress.steps_in_epoch;
        let mut text = format!("{}: {}", self.title(), Count(all, "step"));
        // The time is that of the steps made here.
        if self.steps < all {
            _ = write!(text, ", the last {}", self.steps);
        }
        _ = write!(text, " in {}", clock(self.elapsed.as_secs_f64()));
        self.speed().into_iter().for_each(|speed| _ = write!(text, ", {speed}"));
        text + &self.metrics_text()
    }

    /// The last line of an epoch that is left open.
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

    /// Steps per second, or seconds per step. Returns `None` before the first step.
    fn speed(&self) -> Option<String> {
        let speed = self.steps as f64 / self.elapsed.as_secs_f64().max(1e-9);
        match speed >= 1.0 {
            _ if self.steps == 0 => None,
            true => Some(format!("{}/s", Short(speed))),
            false => Some(format!("{} s/step", Short(1.0 / speed))),
        }
    }

    /// The time up to the total, at the speed so far.
    fn left(&self) -> Option<String> {
        let left = self.total()?.saturating_sub(self.progress.steps_in_epoch);
        let seconds = self.elapsed.as_secs_f64() * left as f64 / self.steps as f64;
        (0 < self.steps).then(|| clock(seconds))
    }

    fn metrics_text(&self) -> String {
        let metric = |(name, value): &(&str, f64)| format!(", {} {}", self.short(name), Short(*value));
        self.metrics.iter().map(metric).collect()
    }

    /// The name of a metric without the phase, which the title says.
    fn short<'n>(&self, name: &'n str) -> &'n str {
        name.strip_prefix(self.phase.name()).and_then(|name| name.strip_prefix('/')).unwrap_or(name)
    }
}

/// `0:07`, `12:30`, `3:00:00`.
pub(super) fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// The width of the drawn part of a bar.
const BLOCKS: usize = 16;

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
        check(status(4, 0, known, 2.0), "train epoch 2/3: step 4/10, 2.000/s, 0:03 left, loss 0.2500");
        // Six steps were made before a pause: they say nothing of the speed.
        check(status(8, 6, known, 200.0), "train epoch 2/3: step 8/10, 100.0 s/step, 3:20 left, loss 0.2500");
        check(status(0, 0, known, 0.0), "train epoch 2/3: step 0/10, loss 0.2500");
        check(status(4, 0, Expected::default(), 2.0), "train epoch 2: step 4, 2.000/s, loss 0.2500");
        // A limit of 16 steps, 14 of which are done, comes before the end of the epoch.
        let limited = expected(Some(10), None, Some(16));
        check(
            status(4, 0, limited, 7200.0),
            "train epoch 2: step 4/10, 1800 s/step, 1:00:00 left, loss 0.2500",
        );
        assert_eq!(status(4, 0, limited, 1.0).total(), Some(6));
    }

    #[test]
    fn a_bar_fits_40_80_and_120_columns() {
        let known = expected(Some(1000), Some(12), None);
        let metrics = vec![
            ("train/loss", 0.312_46),
            ("train/accuracy", 0.912),
            ("gradient norm", 1.5),
            ("learning rate", 3e-4),
        ];
        let status = Status { metrics, ..status(250, 0, known, 20.0) };
        let check = |columns, text: &str| {
            let bar = status.bar().fit(columns).replace('\u{2588}', "#").replace('\u{2591}', "-");
            assert_eq!(bar, text);
        };
        check(40, "train epoch 2/12 250/1000, loss 0.3125 \u{2026}");
        check(80, "train epoch 2/12 ####------------ 250/1000, 12.50/s, 1:00 left, loss 0.3125 \u{2026}");
        check(
            120,
            "train epoch 2/12 ####------------ 250/1000, 12.50/s, 1:00 left, loss 0.3125, accuracy 0.9120, \
             gradient norm 1.500 \u{2026}",
        );
        // Nothing is known of the length, and nothing was measured yet.
        let unknown = Status { metrics: Vec::new(), ..self::status(0, 0, Expected::default(), 0.0) };
        assert_eq!(unknown.bar().fit(80), "train epoch 2 step 0");
        let empty = Status { metrics: Vec::new(), ..self::status(0, 0, expected(Some(0), None, None), 0.0) };
        assert_eq!(empty.bar().fit(80), "train epoch 2 step 0");
    }

    #[test]
    fn the_last_line_says_what_became_of_the_epoch() {
        let known = expected(Some(10), Some(3), None);
        assert_eq!(
            status(10, 0, known, 4.0).ended_line(),
            "train epoch 2/3: 10 steps in 0:04, 2.500/s, loss 0.2500"
        );
        assert_eq!(
            status(1, 0, known, 4.0).ended_line(),
            "train epoch 2/3: 1 step in 0:04, 4.000 s/step, loss 0.2500"
        );
        assert_eq!(
            status(10, 6, known, 4.0).ended_line(),
            "train epoch 2/3: 10 steps, the last 4 in 0:04, 1.000/s, loss 0.2500"
        );
        assert_eq!(
            status(4, 0, known, 4.0).paused_line(),
            "train epoch 2/3: paused at step 4/10, loss 0.2500"
        );
    }
}
