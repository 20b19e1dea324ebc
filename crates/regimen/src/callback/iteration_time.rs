//! The time of steps as metrics.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::{Event, Events};
use crate::metric::Key;
use crate::state::Phase;
use crate::{BoxError, Callback, State};

/// Logs the time of steps, in seconds, as the metrics `train/step_seconds`, `eval/step_seconds` and
/// `predict/step_seconds`.
///
/// It is the time from the start of a step of the unit to its end, without the wait for its batch: see
/// [`DataTime`](super::DataTime). The value over an epoch is the mean of those of its steps. Logs and
/// bars have cadences of their own.
///
/// On a device that computes asynchronously, a step may return before its work is done. The wait is then
/// in the step that reads a number, or outside of steps. [`Throughput`](super::Throughput) counts all time.
///
/// Among several [ranks](crate::Run::peers) the value over an epoch is the mean over all. A step includes the wait for
/// slower ranks: [`SlowRanks`](super::SlowRanks) tells which those are.
///
/// Measured times are metrics, and metrics are saved: with this callback two equal runs differ in them,
/// and nowhere else.
#[derive(Debug)]
pub struct IterationTime {
    window: usize,
    warm_up: u64,
    clock: Clock,
    phases: [Steps; 3],
}

/// The steps of one phase.
#[derive(Debug, Default)]
struct Steps {
    seen: u64,
    began: Option<Instant>,
    /// The times of the newest, the oldest first.
    newest: VecDeque<Duration>,
}

static KEYS: [Key; 3] =
    [Key::mean("train/step_seconds"), Key::mean("eval/step_seconds"), Key::mean("predict/step_seconds")];

impl IterationTime {
    /// Logs the time of every step.
    pub fn new() -> Self {
        IterationTime::with_clock(Instant::now)
    }

    fn with_clock(clock: Clock) -> Self {
        IterationTime { window: 1, warm_up: 0, clock, phases: Default::default() }
    }

    /// Logs the mean over the newest `steps` steps of the phase, or over those there are. Default: 1. A
    /// window of 0 is an error when the run starts.
    pub fn window(mut self, steps: usize) -> Self {
        self.window = steps;
        self
    }

    /// Leaves out the first steps of each phase, in which kernels are compiled and caches filled.
    /// Default: 0. They are counted from the start of the process, because a restart warms up again.
    pub fn warm_up(mut self, steps: u64) -> Self {
        self.warm_up = steps;
        self
    }

    fn end(&mut self, phase: Phase) -> Option<f64> {
        let steps = &mut self.phases[phase as usize];
        let time = (self.clock)().duration_since(steps.began.take()?);
        steps.seen += 1;
        if steps.seen <= self.warm_up {
            return None;
        }
        if steps.newest.len() == self.window {
            steps.newest.pop_front();
        }
        steps.newest.push_back(time);
        Some(steps.newest.iter().sum::<Duration>().as_secs_f64() / steps.newest.len() as f64)
    }
}

impl Default for IterationTime {
    fn default() -> Self {
        IterationTime::new()
    }
}

impl<U: ?Sized> Callback<U> for IterationTime {
    fn events(&self) -> Events {
        use Event::*;
        Events::of(&[
            TrainStart,
            TrainStepStart,
            TrainStepEnd,
            EvalStart,
            EvalStepStart,
            EvalStepEnd,
            PredictStart,
            PredictStepStart,
            PredictStepEnd,
        ])
    }

    fn on_event(&mut self, event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        let phase = state.phase();
        match event {
            Event::TrainStart | Event::EvalStart | Event::PredictStart if self.window == 0 => {
                Err("the window of 0 steps has no mean; give 1 or more".into())
            }
            Event::TrainStepStart | Event::EvalStepStart | Event::PredictStepStart => {
                self.phases[phase as usize].began = Some((self.clock)());
                Ok(())
            }
            Event::TrainStepEnd | Event::EvalStepEnd | Event::PredictStepEnd => {
                if let Some(seconds) = self.end(phase) {
                    state.log(KEYS[phase as usize].clone(), seconds, 1.0);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::by_hand::{Takes, lived, logged, now};
    use super::*;
    use crate::Run;
    use crate::run::Train;

    #[track_caller]
    fn check(set: impl FnOnce(IterationTime) -> IterationTime, expected: &str) {
        assert_eq!(logged(set(IterationTime::with_clock(now)), "step_seconds"), expected);
    }

    #[test]
    fn each_step_has_the_time_of_its_own_and_an_epoch_the_mean() {
        check(
            |times| times,
            "1: 1, 2: 3, eval 1: 3, 3: 5, train 1: 3, 4: 1, eval 2: 3, 5: 3, 6: 5, eval 3: 3, train 2: 3",
        );
    }

    #[test]
    fn a_window_has_the_mean_of_the_newest_steps_or_of_those_there_are() {
        check(
            |times| times.window(4),
            "1: 1, 2: 2, eval 1: 2.5, 3: 3, train 1: 2, 4: 2.5, eval 2: 2.833, 5: 3, 6: 3.5, eval 3: 3, \
             train 2: 3",
        );
    }

    #[test]
    fn the_warm_up_is_left_out_in_each_phase() {
        check(|times| times.warm_up(4), "5: 3, 6: 5, eval 3: 3, train 2: 4");
        check(
            |times| times.warm_up(1).window(2),
            "2: 3, eval 1: 4, 3: 4, train 1: 3.5, 4: 3, eval 2: 3, 5: 2, 6: 4, eval 3: 3, train 2: 3",
        );
    }

    #[test]
    fn only_steps_that_were_made_are_timed_over_pauses_failures_restarts_and_passes_by_hand() {
        let expected = "1: 1, 2: 3, eval 1: 3, 3: 5, train 1: 3, eval 1: 2, predict 1: 6";
        assert_eq!(lived(|| IterationTime::with_clock(now), "step_seconds"), expected);
    }

    #[test]
    fn a_window_of_no_steps_is_refused_before_the_first() {
        let mut unit = Takes;
        let mut run = Run::new(&mut unit).callback(IterationTime::new().window(0));
        let error = run.train(&[1], Train::epochs(1)).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "callback IterationTime failed at train start in train at epoch 0 step 0: the window of \
             0 steps has no mean; give 1 or more"
        );
    }
}
