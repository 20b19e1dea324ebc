//! The time waited for batches as metrics.

use std::time::Instant;

use super::clock::Clock;
use super::{Event, Events};
use crate::metric::Key;
use crate::{BoxError, Callback, State};

/// Logs the time waited for each batch, in seconds, as the metrics `train/data_seconds`,
/// `eval/data_seconds` and `predict/data_seconds`.
///
/// It is the time from the start of a fetch to its end. Compare it with that of the step, which
/// [`IterationTime`](super::IterationTime) logs: a wait that is a large share of both means that the data
/// is too slow, and more workers help. The value over an epoch is the mean of those of its batches. Logs and
/// bars have cadences of their own.
///
/// Data that does not announce its number of batches is read ahead by one batch. The time is then that of
/// the next batch, and the first batch of an epoch is not measured. Among several [ranks](crate::Run::peers) the value
/// over an epoch is the mean over all.
///
/// Measured times are metrics, and metrics are saved: with this callback two equal runs differ in them,
/// and nowhere else. For times outside of metrics see
/// [`DataExt::timed`](crate::data::DataExt::timed).
#[derive(Debug)]
pub struct DataTime {
    warm_up: u64,
    clock: Clock,
    began: Option<Instant>,
    /// Batches of each phase.
    seen: [u64; 3],
}

static KEYS: [Key; 3] =
    [Key::mean("train/data_seconds"), Key::mean("eval/data_seconds"), Key::mean("predict/data_seconds")];

impl DataTime {
    /// Logs the wait for every batch.
    pub fn new() -> Self {
        DataTime::with_clock(Instant::now)
    }

    fn with_clock(clock: Clock) -> Self {
        DataTime { warm_up: 0, clock, began: None, seen: [0; 3] }
    }

    /// Leaves out the first batches of each phase, for which workers start and caches fill. Default: 0. They
    /// are counted from the start of the process, because a restart warms up again.
    pub fn warm_up(mut self, batches: u64) -> Self {
        self.warm_up = batches;
        self
    }
}

impl Default for DataTime {
    fn default() -> Self {
        DataTime::new()
    }
}

impl<U: ?Sized> Callback<U> for DataTime {
    fn events(&self) -> Events {
        use Event::*;
        Events::of(&[
            TrainFetchStart,
            TrainFetchEnd,
            EvalFetchStart,
            EvalFetchEnd,
            PredictFetchStart,
            PredictFetchEnd,
        ])
    }

    fn on_event(&mut self, event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        let now = (self.clock)();
        if let Event::TrainFetchStart | Event::EvalFetchStart | Event::PredictFetchStart = event {
            self.began = Some(now);
        } else if let Some(began) = self.began.take() {
            let phase = state.phase() as usize;
            self.seen[phase] += 1;
            if self.warm_up < self.seen[phase] {
                state.log(KEYS[phase].clone(), now.duration_since(began).as_secs_f64(), 1.0);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::by_hand::{lived, logged, now};
    use super::*;

    #[track_caller]
    fn check(warm_up: u64, expected: &str) {
        let callback = DataTime::with_clock(now).warm_up(warm_up);
        assert_eq!(logged(callback, "data_seconds"), expected);
    }

    #[test]
    fn the_wait_is_for_the_batch_alone() {
        check(
            0,
            "1: 10, 2: 10, eval 1: 20, 3: 10, train 1: 10, 4: 10, eval 2: 20, 5: 10, 6: 10, eval 3: 20, \
             train 2: 10",
        );
    }

    #[test]
    fn only_batches_of_steps_that_were_made_count_over_pauses_failures_restarts_and_passes_by_hand() {
        let expected = "1: 10, 2: 10, eval 1: 20, 3: 10, train 1: 10, eval 1: 20, predict 1: 20";
        assert_eq!(lived(|| DataTime::with_clock(now), "data_seconds"), expected);
    }

    #[test]
    fn the_warm_up_is_left_out_in_each_phase() {
        check(4, "5: 10, 6: 10, eval 3: 20, train 2: 10");
    }
}
