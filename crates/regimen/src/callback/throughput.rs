//! Samples per second as metrics.

use std::time::Instant;

use super::clock::Clock;
use super::{Event, Events};
use crate::metric::{Key, Reduction};
use crate::state::Phase;
use crate::{BoxError, Callback, State};

/// Logs samples per second as the metrics `train/samples_per_second`, `eval/samples_per_second` and
/// `predict/samples_per_second`.
///
/// The value of a step is its samples per time since the end of the step before, or since the epoch
/// began or went on. So it has the wait for data, callbacks and saves in it, and no evaluation of `fit`.
/// The value over an epoch is all samples of its steps per all time of them, also after a restart within
/// the epoch. Logs and bars have cadences of their own.
///
/// The data counts samples: see [`DataExt::count_samples`](crate::data::DataExt::count_samples) for data
/// that counts batches. Those of all [peers](crate::Run::peers) count.
///
/// On a device that computes asynchronously, the rate of one step says little. The value over an epoch is
/// exact.
///
/// Measured rates are metrics, and metrics are saved: with this callback two equal runs differ in them,
/// and nowhere else.
#[derive(Debug)]
pub struct Throughput {
    /// The keys of each phase, with the amount per sample.
    rates: Vec<([Key; 3], f64)>,
    warm_up: u64,
    clock: Clock,
    phases: [Lap; 3],
    eval_began: Option<Instant>,
}

/// The step under way of one phase.
#[derive(Clone, Copy, Debug, Default)]
struct Lap {
    seen: u64,
    /// The end of the step before, and the samples until then.
    began: Option<(Instant, u64)>,
}

impl Throughput {
    /// Logs samples per second.
    pub fn new() -> Self {
        Throughput::with_clock(Instant::now)
    }

    fn with_clock(clock: Clock) -> Self {
        let rates = vec![(keys("samples"), 1.0)];
        Throughput { rates, warm_up: 0, clock, phases: Default::default(), eval_began: None }
    }

    /// Logs `<phase>/<items>_per_second` too, with `amount` of them per sample. An amount that is not a
    /// finite number above 0 is an error when the run starts.
    ///
    /// ```
    /// # use regimen::callback::Throughput;
    /// let throughput = Throughput::new().per_sample("tokens", 512.0).per_sample("bytes", 2048.0);
    /// # drop(throughput);
    /// ```
    pub fn per_sample(mut self, items: &str, amount: f64) -> Self {
        self.rates.push((keys(items), amount));
        self
    }

    /// Leaves out the first steps of each phase, in which kernels are compiled and caches filled.
    /// Default: 0. They are counted from the start of the process, because a restart warms up again.
    pub fn warm_up(mut self, steps: u64) -> Self {
        self.warm_up = steps;
        self
    }

    fn step(&mut self, phase: Phase, state: &mut State) {
        let (now, samples) = ((self.clock)(), state.progress().samples);
        let lap = &mut self.phases[phase as usize];
        lap.seen += 1;
        let began = lap.began.replace((now, samples));
        let Some((began, before)) = began.filter(|_| self.warm_up < lap.seen) else { return };
        let seconds = now.duration_since(began).as_secs_f64();
        for (keys, amount) in self.rates.iter().filter(|_| 0.0 < seconds) {
            let items = samples.saturating_sub(before) as f64 * amount;
            // The mean of rates that are weighted by their time is all items per all time.
            state.log(keys[phase as usize].clone(), items / seconds, seconds);
        }
    }

    /// A phase or an epoch begins.
    fn begin(&mut self, phase: Phase, state: &State) -> Result<(), BoxError> {
        self.phases[phase as usize].began = Some(((self.clock)(), state.progress().samples));
        let bad = self.rates.iter().find(|(_, amount)| !(amount.is_finite() && 0.0 < *amount));
        bad.map_or(Ok(()), |(keys, amount)| {
            let key = &keys[phase as usize];
            Err(format!("`{key}`: {amount} per sample has no rate; give a finite number above 0").into())
        })
    }
}

/// The keys of a rate, by phase.
fn keys(items: &str) -> [Key; 3] {
    Phase::ALL.map(|phase| Key::named(format!("{phase}/{items}_per_second"), Reduction::Mean))
}

impl Default for Throughput {
    fn default() -> Self {
        Throughput::new()
    }
}

impl<U: ?Sized> Callback<U> for Throughput {
    fn events(&self) -> Events {
        use Event::*;
        Events::of(&[
            TrainStart,
            TrainEpochStart,
            TrainStepEnd,
            EvalStart,
            EvalEpochStart,
            EvalStepEnd,
            EvalEnd,
            PredictStart,
            PredictEpochStart,
            PredictStepEnd,
        ])
    }

    fn on_event(&mut self, event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        use Event::*;
        let phase = state.phase();
        match event {
            TrainStepEnd | EvalStepEnd | PredictStepEnd => self.step(phase, state),
            EvalEnd => {
                let train = &mut self.phases[Phase::Train as usize].began;
                if let (Some((began, _)), Some(paused)) = (train, self.eval_began) {
                    *began += (self.clock)().duration_since(paused);
                }
            }
            // A paused epoch goes on without an event of its own.
            _ => {
                self.begin(phase, state)?;
                if event == EvalStart {
                    self.eval_began = Some((self.clock)());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use regimen_test::peers::{Threads, on_ranks};

    use super::super::clock::by_hand::{Takes, lived, logged, now};
    use super::*;
    use crate::Run;
    use crate::data::DataExt;
    use crate::run::Train;

    #[track_caller]
    fn check(warm_up: u64, expected: &str) {
        let callback = Throughput::with_clock(now).per_sample("items", 1000.0).warm_up(warm_up);
        assert_eq!(logged(callback, "items_per_second"), expected);
    }

    #[test]
    fn all_time_but_that_of_evaluations_counts() {
        // Steps of 11, 113 and 115 seconds, and evaluations of 46.
        check(
            0,
            "1: 90.909, 2: 26.549, eval 1: 130.435, 3: 43.478, train 1: 37.657, 4: 90.909, eval 2: 130.435, \
             5: 26.549, 6: 43.478, eval 3: 130.435, train 2: 37.657",
        );
    }

    #[test]
    fn the_warm_up_is_left_out_in_each_phase() {
        check(4, "5: 26.549, 6: 43.478, eval 3: 130.435, train 2: 35.088");
    }

    #[test]
    fn a_step_that_takes_no_time_has_no_rate() {
        let mut unit = Takes;
        let mut run = Run::new(&mut unit).callback(Throughput::with_clock(now));
        run.train(&[0, 2, 0], Train::epochs(1)).unwrap();
        let metrics = run.state().metrics(Phase::Train).iter();
        let metrics: Vec<_> = metrics.map(|metric| (metric.key().name(), metric.epoch_value())).collect();
        assert_eq!(metrics, [("train/samples_per_second", Some(0.5))]);
    }

    #[test]
    fn the_rest_of_a_paused_epoch_is_timed_from_the_call_that_goes_on() {
        let mut unit = Takes;
        let mut run = Run::new(&mut unit).callback(Throughput::with_clock(now));
        run.train(&[1, 3], Train::steps(1)).unwrap();
        super::super::clock::by_hand::pass(1000);
        run.train(&[1, 3], Train::epochs(1)).unwrap();
        assert_eq!(run.state().value(Key::mean("train/samples_per_second")), Some(0.5));
    }

    #[test]
    fn the_time_between_calls_counts_for_nothing_over_pauses_failures_restarts_and_passes_by_hand() {
        // Of 11, 13 and 15 seconds, 22 and 24 by hand, 22 in `fit`, and 26.
        let expected =
            "1: 0.091, 2: 0.231, eval 1: 0.13, 3: 0.333, train 1: 0.231, eval 1: 0.091, predict 1: 0.231";
        assert_eq!(lived(|| Throughput::with_clock(now), "samples_per_second"), expected);
    }

    #[test]
    fn the_rate_is_that_of_the_batches_of_all_ranks_and_no_multiple_of_it() {
        let rates = on_ranks(Threads::of(3, Duration::from_secs(600)), |peers| {
            let mut run = Run::owned(Takes).peers(peers).callback(Throughput::with_clock(now));
            // Each rank has as many samples of a batch as its step takes seconds.
            run.train(&vec![1, 3].count_samples(|&samples| samples), Train::epochs(1)).unwrap();
            run.state().value(Key::mean("train/samples_per_second"))
        });
        assert_eq!(rates, [(); 3].map(|()| Ok(Some(3.0))));
    }

    #[test]
    fn an_amount_without_a_rate_is_refused_before_the_first_step() {
        for (amount, text) in [(0.0, "0"), (-1.0, "-1"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
            let mut unit = Takes;
            let mut run = Run::new(&mut unit).callback(Throughput::new().per_sample("tokens", amount));
            let error = run.train(&[1], Train::epochs(1)).unwrap_err();
            assert_eq!(
                format!("{error:#}"),
                format!(
                    "callback Throughput failed at train start in train at epoch 0 step 0: \
                     `train/tokens_per_second`: {text} per sample has no rate; give a finite number above 0"
                )
            );
        }
    }
}
