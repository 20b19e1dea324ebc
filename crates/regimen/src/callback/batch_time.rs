//! The time of a batch, as a notice.

use std::time::{Duration, Instant};

use super::clock::Clock;
use super::{Event, Events};
use crate::text::Count;
use crate::{BoxError, Callback, State};

/// Tells how long a training batch takes, and how much of it is the wait for data, in a
/// [notice](State::notices) at the end of the first epoch:
/// `a batch takes 152.00ms: data 4.94ms (3 %), step 147.00ms (97 %); mean over 100 batches`.
///
/// The whole is the time of the epoch, callbacks and saves included and evaluations not. The wait for data and the
/// step of the unit are parts of it that do not overlap. A large share of data means that the loader is too slow, and
/// more workers help. For values of each batch see [`DataTime`](super::DataTime) and
/// [`IterationTime`](super::IterationTime).
///
/// The first epoch is that of the process: a restart tells it again. Among several [ranks](crate::Run::peers) each tells
/// its own times. An epoch that is paused is told of as far as it
/// came.
#[derive(Debug)]
pub struct BatchTime {
    clock: Clock,
    /// The start of the epoch, later by the time of evaluations. `None` before the first and after the notice.
    began: Option<Instant>,
    part_began: Option<Instant>,
    eval_began: Option<Instant>,
    data: Duration,
    step: Duration,
    batches: u32,
    is_told: bool,
}

impl BatchTime {
    /// Measures the first epoch.
    pub fn new() -> Self {
        BatchTime::with_clock(Instant::now)
    }

    fn with_clock(clock: Clock) -> Self {
        BatchTime {
            clock,
            began: None,
            part_began: None,
            eval_began: None,
            data: Duration::ZERO,
            step: Duration::ZERO,
            batches: 0,
            is_told: false,
        }
    }

    fn notice(&mut self, now: Instant) -> Option<String> {
        let began = self.began.take()?;
        let all = now.duration_since(began).checked_div(self.batches)?;
        self.is_told = true;
        let part = |name: &str, time: Duration| {
            let mean = time.checked_div(self.batches)?;
            let percent = 100.0 * mean.as_secs_f64() / all.as_secs_f64().max(1e-9);
            Some(format!("{name} {mean:.2?} ({percent:.0} %)"))
        };
        let (data, step) = (part("data", self.data)?, part("step", self.step)?);
        let batches = Count(u64::from(self.batches), "batch");
        Some(format!("a batch takes {all:.2?}: {data}, {step}; mean over {batches}"))
    }
}

impl Default for BatchTime {
    fn default() -> Self {
        BatchTime::new()
    }
}

impl<U: ?Sized> Callback<U> for BatchTime {
    fn events(&self) -> Events {
        use Event::*;
        Events::of(&[
            TrainStart,
            TrainEpochStart,
            TrainFetchStart,
            TrainFetchEnd,
            TrainStepStart,
            TrainStepEnd,
            TrainEpochEnd,
            TrainEnd,
            EvalStart,
            EvalEnd,
        ])
    }

    fn on_event(&mut self, event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        use Event::*;
        if self.is_told {
            return Ok(());
        }
        let now = (self.clock)();
        let mut part = || self.part_began.take().map_or(Duration::ZERO, |began| now.duration_since(began));
        match event {
            // A paused epoch goes on without an event of its own.
            TrainStart | TrainEpochStart => {
                *self = BatchTime { began: Some(now), ..BatchTime::with_clock(self.clock) }
            }
            TrainFetchStart | TrainStepStart => self.part_began = Some(now),
            TrainFetchEnd => self.data += part(),
            TrainStepEnd => {
                self.step += part();
                self.batches = self.batches.saturating_add(1);
            }
            EvalStart => self.eval_began = Some(now),
            EvalEnd => {
                if let (Some(began), Some(paused)) = (&mut self.began, self.eval_began.take()) {
                    *began += now.duration_since(paused);
                }
            }
            _ => self.notice(now).into_iter().for_each(|notice| state.notify(notice)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::clock::by_hand::{Takes, fit, live, now};
    use super::*;

    /// Writes the notices down.
    struct Notices<'a>(&'a Mutex<Vec<String>>);

    impl Callback<Takes> for Notices<'_> {
        fn events(&self) -> Events {
            Events::of(&[Event::Notice])
        }

        fn on_event(&mut self, _: Event, state: &mut State, _: &mut Takes) -> Result<(), BoxError> {
            self.0.lock().unwrap().extend_from_slice(state.notices());
            Ok(())
        }
    }

    #[test]
    fn the_notice_has_the_whole_and_its_parts_and_no_evaluation() {
        let notices = Mutex::new(Vec::new());
        fit(BatchTime::with_clock(now), Notices(&notices));
        let expected = ["a batch takes 113.00s: data 10.00s (9 %), step 3.00s (3 %); mean over 3 batches"];
        assert_eq!(notices.into_inner().unwrap(), expected);
    }

    #[test]
    fn each_process_tells_of_its_first_batches_up_to_a_pause() {
        let notices = Mutex::new(Vec::new());
        live(|run| run.callback(BatchTime::with_clock(now)).callback(Notices(&notices)), &mut [Takes, Takes]);
        let expected = [
            "a batch takes 12.00s: data 10.00s (83 %), step 2.00s (17 %); mean over 2 batches",
            "a batch takes 15.00s: data 10.00s (67 %), step 5.00s (33 %); mean over 1 batch",
        ];
        assert_eq!(notices.into_inner().unwrap(), expected);
    }
}
