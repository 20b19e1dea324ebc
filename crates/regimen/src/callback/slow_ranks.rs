//! Straggler detection: a notice about ranks that are slower than the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::{Event, Events, Every};
use crate::data::Rank;
use crate::engine::Bucket;
use crate::error::Place;
use crate::metric::Key;
use crate::peers::Peers;
use crate::{BoxError, Callback, State};

/// Detects stragglers: ranks whose training steps take longer than those of the others, which wait for them. Each is
/// told in a [notice](State::notices) of the first rank:
/// `rank 2 is slow: its steps take 5.00s, and those of the ranks 3.00s at the median; 40 % of its time is the wait for
/// data`.
///
/// The time of a step is that of the rank's own work, from the start of the fetch to the end of the step. The time in
/// collectives, in which a rank waits for the others, is not in it. So the run must have the peers that
/// [`peers`](SlowRanks::peers) returns, which measure that time:
///
/// ```
/// # use std::sync::Arc;
/// # use regimen::Run;
/// # use regimen::peers::Peers;
/// use regimen::callback::SlowRanks;
///
/// # fn example<'a, U>(run: Run<'a, U>, peers: Arc<dyn Peers>) -> Run<'a, U> {
/// let slow_ranks = SlowRanks::new(peers);
/// run.peers(slow_ranks.peers()).callback(slow_ranks)
/// # }
/// ```
///
/// At a cadence the ranks compare the medians of their newest steps. Each rank measures durations on a clock of its own,
/// so clocks of different machines may differ. A rank is told again only after it was not slow in between. The time of the
/// slowest rank per the median of the ranks is the metric `train/straggler_ratio`; its value over an epoch is the
/// largest. A run without peers is not measured.
///
/// It must be on all ranks, because a comparison is a collective. Measured times are metrics, and metrics are saved: with
/// this callback two equal runs differ in them, and nowhere else.
#[derive(Debug)]
pub struct SlowRanks {
    peers: Arc<Timed>,
    every: Every,
    factor: f64,
    clock: Clock,
    /// The start of the fetch under way, and the time in collectives until then.
    began: Option<(Instant, Duration)>,
    /// The wait for the batch of the step under way.
    data: Duration,
    /// The own time of each step since the last comparison, and the wait for its batch.
    steps: Vec<[Duration; 2]>,
    /// The ranks that were slow at the last comparison.
    slow: Vec<usize>,
}

const STRAGGLER_RATIO: Key = Key::max("train/straggler_ratio");

impl SlowRanks {
    /// Compares the ranks of `peers` every 100 training steps. A rank is slow if its time is more than 1.3 times the
    /// median of the ranks.
    pub fn new(peers: Arc<dyn Peers>) -> Self {
        SlowRanks::with_clock(peers, Instant::now)
    }

    fn with_clock(peers: Arc<dyn Peers>, clock: Clock) -> Self {
        SlowRanks {
            peers: Arc::new(Timed { peers, clock, calls: AtomicU64::new(0), nanoseconds: AtomicU64::new(0) }),
            every: Every::steps(100),
            factor: 1.3,
            clock,
            began: None,
            data: Duration::ZERO,
            steps: Vec::new(),
            slow: Vec::new(),
        }
    }

    /// The peers for the run: the same ranks, with the time in collectives measured.
    pub fn peers(&self) -> Arc<dyn Peers> {
        self.peers.clone()
    }

    /// The cadence of comparisons, by the counts of training. Default: every 100 steps.
    pub fn every(mut self, every: Every) -> Self {
        self.every = every;
        self
    }

    /// The time per the median of the ranks above which a rank is slow. The median of an even number is the lower of
    /// the two in the middle. Default: 1.3. A factor that is not a finite
    /// number above 1 is an error when the run starts.
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    fn check(&mut self) -> Result<(), BoxError> {
        self.every.check("`SlowRanks::every`")?;
        if !(self.factor.is_finite() && self.factor > 1.0) {
            let factor = self.factor;
            return Err(format!(
                "`SlowRanks::factor`: {factor} finds no slow rank; give a finite number above 1"
            )
            .into());
        }
        // Steps before a pause were compared with those before the pause of others.
        self.steps.clear();
        Ok(())
    }

    fn end_step(&mut self, now: Instant) {
        if let Some((began, waited)) = self.began.take() {
            let waited = self.peers.waited().saturating_sub(waited);
            self.steps.push([now.duration_since(began).saturating_sub(waited), self.data]);
        }
    }

    /// Compares the ranks. Each one calls it.
    fn compare(&mut self, state: &mut State) -> Result<(), BoxError> {
        if self.peers.calls.load(Ordering::Relaxed) == 0 {
            return Err(
                "the time in collectives is not measured; give the run the peers of `SlowRanks::peers`"
                    .into(),
            );
        }
        let own = Times::of(&mut self.steps);
        let all = self.peers.gather(&own.to_bytes())?;
        let all: Vec<Times> = all.iter().map(|bytes| Times::from_bytes(bytes)).collect::<Result<_, _>>()?;
        let mut steps: Vec<f64> = all.iter().map(|times| times.step).collect();
        steps.sort_by(f64::total_cmp);
        // Of two ranks that of the faster one: a mean of both would hide the slower.
        let of_ranks = steps.get(steps.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN);
        let ratio = all.iter().map(|times| times.step / of_ranks).fold(f64::NAN, f64::max);
        if !ratio.is_finite() {
            return Ok(());
        }
        state.log(STRAGGLER_RATIO, ratio, 1.0);
        let is_slow = |rank: &usize| all[*rank].step > self.factor * of_ranks;
        let slow: Vec<usize> = (0..all.len()).filter(is_slow).collect();
        if state.rank().is_first() {
            for &rank in slow.iter().filter(|rank| !self.slow.contains(rank)) {
                let Times { step, data } = all[rank];
                let [step, of_ranks] = [step, of_ranks].map(Duration::from_secs_f64);
                state.notify(format!(
                    "rank {rank} is slow: its steps take {step:.2?}, and those of the ranks {of_ranks:.2?} at the \
                     median; {:.0} % of its time is the wait for data",
                    100.0 * data
                ));
            }
        }
        self.slow = slow;
        Ok(())
    }
}

impl<U: ?Sized> Callback<U> for SlowRanks {
    fn events(&self) -> Events {
        use Event::*;
        TrainStart | TrainFetchStart | TrainFetchEnd | TrainStepEnd | TrainEpochEnd
    }

    fn on_event(&mut self, event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        if event == Event::TrainStart {
            return self.check();
        }
        if state.peers().is_none() {
            return Ok(());
        }
        let now = (self.clock)();
        match event {
            Event::TrainFetchStart => self.began = Some((now, self.peers.waited())),
            Event::TrainFetchEnd => {
                self.data = self.began.map_or(Duration::ZERO, |(began, _)| now.duration_since(began));
            }
            _ => self.end_step(now),
        }
        let ends = matches!(event, Event::TrainStepEnd | Event::TrainEpochEnd);
        if ends && state.is_due(self.every) { self.compare(state) } else { Ok(()) }
    }
}

/// The times of a rank.
#[derive(Clone, Copy)]
struct Times {
    /// Seconds per step, at the median. NaN without steps.
    step: f64,
    /// The share of the wait for data.
    data: f64,
}

impl Times {
    /// Those of `steps`, which are taken out.
    fn of(steps: &mut Vec<[Duration; 2]>) -> Self {
        let total = |n: usize| steps.iter().map(|times| times[n]).sum::<Duration>().as_secs_f64();
        let data = total(1) / total(0).max(1e-9);
        let mut seconds: Vec<f64> = steps.drain(..).map(|[own, _]| own.as_secs_f64()).collect();
        Times { step: median(&mut seconds), data }
    }

    fn to_bytes(self) -> Vec<u8> {
        [self.step.to_le_bytes(), self.data.to_le_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, BoxError> {
        match *bytes.as_chunks().0 {
            [step, data] => Ok(Times { step: f64::from_le_bytes(step), data: f64::from_le_bytes(data) }),
            _ => Err("the times of another rank are cut off".into()),
        }
    }
}

/// The median, which of an even number is the mean of the two in the middle. NaN of none.
fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let half = numbers.len() / 2;
    match numbers.len() % 2 {
        1 => numbers[half],
        _ if numbers.is_empty() => f64::NAN,
        _ => (numbers[half - 1] + numbers[half]) / 2.0,
    }
}

/// Peers whose calls are timed.
#[derive(Debug)]
struct Timed {
    peers: Arc<dyn Peers>,
    clock: Clock,
    calls: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Timed {
    /// The time in all calls so far.
    fn waited(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }

    fn time<R>(&self, call: impl FnOnce(&dyn Peers) -> R) -> R {
        let began = (self.clock)();
        let result = call(&*self.peers);
        let waited = (self.clock)().duration_since(began).as_nanos();
        self.nanoseconds.fetch_add(u64::try_from(waited).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        result
    }
}

impl Peers for Timed {
    fn rank(&self) -> Rank {
        self.peers.rank()
    }

    fn sum(&self, values: Bucket<'_>) -> Result<(), BoxError> {
        self.time(|peers| peers.sum(values))
    }

    fn takes_device(&self) -> bool {
        self.peers.takes_device()
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, BoxError> {
        self.time(|peers| peers.gather(own))
    }

    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), BoxError> {
        self.time(|peers| peers.broadcast(bytes))
    }

    fn commit(&self) -> Result<(), BoxError> {
        self.time(|peers| peers.commit())
    }

    fn is_elastic(&self) -> bool {
        self.peers.is_elastic()
    }

    fn note_place(&self, place: Place) {
        self.peers.note_place(place);
    }

    fn abort(&self, why: &str) {
        self.peers.abort(why);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use regimen_test::peers::{Threads, on_ranks};

    use super::super::clock::by_hand::{Takes, now, pass};
    use super::*;
    use crate::data::{Data, DataExt};
    use crate::run::Train;
    use crate::state::Phase;
    use crate::{Error, Run};

    /// No call waits as long on any machine that passes.
    const PATIENCE: Duration = Duration::from_secs(600);

    /// Peers whose calls take 1000 seconds on the clock of this rank.
    #[derive(Debug)]
    struct Late(Arc<dyn Peers>);

    impl Peers for Late {
        fn rank(&self) -> Rank {
            self.0.rank()
        }

        fn sum(&self, values: Bucket<'_>) -> Result<(), BoxError> {
            pass(1000);
            self.0.sum(values)
        }

        fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, BoxError> {
            pass(1000);
            self.0.gather(own)
        }

        fn broadcast(&self, bytes: &mut [u8]) -> Result<(), BoxError> {
            pass(1000);
            self.0.broadcast(bytes)
        }

        fn commit(&self) -> Result<(), BoxError> {
            pass(1000);
            self.0.commit()
        }

        fn abort(&self, why: &str) {
            self.0.abort(why);
        }
    }

    /// Batches that take `wait` seconds each.
    fn slow(batches: Vec<u64>, wait: u64) -> impl Data<Batch = u64> {
        batches.map_batches(move |batch| {
            pass(wait);
            batch
        })
    }

    /// The notices of each rank, and its values of the ratio over epochs. A step meets the other ranks once, and takes as
    /// many seconds as `steps` returns for the rank.
    fn told(
        wait: impl Fn(u64) -> u64 + Sync,
        steps: impl Fn(u64) -> Vec<u64> + Sync,
        set: impl Fn(SlowRanks) -> SlowRanks + Sync,
    ) -> Vec<(Vec<String>, Option<f64>)> {
        let told = on_ranks(Threads::of(3, PATIENCE), |peers| -> Result<_, Error> {
            let rank = peers.rank().index;
            let slow_ranks = set(SlowRanks::with_clock(Arc::new(Late(peers)), now));
            let notices = Mutex::new(Vec::new());
            let mut unit = Takes;
            let mut run = Run::new(&mut unit)
                .peers(slow_ranks.peers())
                .on(Event::TrainStepStart, |state: &mut State, _: &mut Takes| -> Result<(), BoxError> {
                    state.peers().map_or(Ok(()), |peers| peers.commit())
                })
                .callback(slow_ranks)
                .on(Event::Notice, |state: &mut State, _: &mut Takes| {
                    notices.lock().unwrap().extend_from_slice(state.notices());
                });
            run.train(&slow(steps(rank), wait(rank)), Train::epochs(1))?;
            let ratio = run.state().metrics(Phase::Train).get(&STRAGGLER_RATIO).and_then(|m| m.epoch_value());
            drop(run);
            Ok((notices.into_inner().unwrap(), ratio))
        });
        told.into_iter().map(|told| told.unwrap().unwrap()).collect()
    }

    #[test]
    fn a_rank_that_is_slow_by_its_own_work_is_told_and_waits_for_others_count_for_nothing() {
        let steps = |rank| if rank == 2 { vec![4, 4, 9, 4] } else { vec![2, 2, 2, 2] };
        let found = told(|rank| 1 + rank / 2, steps, |slow| slow.every(Every::steps(4)));
        let notice = "rank 2 is slow: its steps take 6.00s, and those of the ranks 3.00s at the median; 28 % of its \
                      time is the wait for data";
        assert_eq!(found, [(vec![notice.to_owned()], Some(2.0)), (vec![], Some(2.0)), (vec![], Some(2.0))]);
    }

    #[test]
    fn a_rank_is_told_again_only_after_it_was_not_slow_in_between() {
        // Compared every second step.
        let steps = |rank| if rank == 1 { vec![4, 4, 4, 4, 1, 1, 5, 5] } else { vec![2; 8] };
        let found = told(|_| 0, steps, |slow| slow.every(Every::steps(2)));
        let notice = |seconds| {
            format!(
                "rank 1 is slow: its steps take {seconds}.00s, and those of the ranks 2.00s at the median; 0 % of its \
                 time is the wait for data"
            )
        };
        assert_eq!(found[0], (vec![notice(4), notice(5)], Some(2.5)));
        // A factor that is just not reached.
        let found = told(|_| 0, steps, |slow| slow.every(Every::epochs(1)).factor(2.0));
        assert_eq!(found, [(); 3].map(|()| (vec![], Some(2.0))));
    }

    #[test]
    fn a_run_without_the_timed_peers_and_a_factor_that_finds_nothing_are_refused() {
        let error = |with_peers: bool, factor: f64| {
            let found = on_ranks(Threads::of(2, PATIENCE), |peers| {
                let slow_ranks = SlowRanks::new(peers.clone()).every(Every::steps(1)).factor(factor);
                let peers = if with_peers { slow_ranks.peers() } else { peers as Arc<dyn Peers> };
                let mut run = Run::owned(Takes).peers(peers).callback(slow_ranks);
                run.train(&[1], Train::epochs(1)).map_err(|error| format!("{error:#}")).unwrap_err()
            });
            let own = |found: Result<String, String>| {
                let found = found.unwrap();
                found.rsplit_once(" failed: ").map_or(found.clone(), |(_, own)| own.to_owned())
            };
            found
                .into_iter()
                .map(own)
                .map(|own| own.split_once(": ").unwrap().1.to_owned())
                .collect::<Vec<_>>()
        };
        let not_timed =
            "the time in collectives is not measured; give the run the peers of `SlowRanks::peers`";
        assert_eq!(error(false, 1.3), [not_timed; 2]);
        for factor in [1.0, -2.0, f64::NAN, f64::INFINITY] {
            let text =
                format!("`SlowRanks::factor`: {factor} finds no slow rank; give a finite number above 1");
            assert_eq!(error(true, factor), [&*text; 2]);
        }
    }

    #[test]
    fn a_run_of_one_process_is_not_measured() {
        let peers = Threads::of(1, PATIENCE).remove(0);
        let slow_ranks = SlowRanks::with_clock(peers, now).every(Every::steps(1));
        let mut run = Run::owned(Takes).peers(slow_ranks.peers()).callback(slow_ranks);
        let report = run.train(&[1, 2], Train::epochs(1)).unwrap();
        assert_eq!((report.metric(STRAGGLER_RATIO), report.notices), (None, vec![]));
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        for (mut numbers, expected) in [
            (vec![3.0], 3.0),
            (vec![3.0, 1.0], 2.0),
            (vec![9.0, 1.0, 2.0], 2.0),
            (vec![4.0, 1.0, 9.0, 2.0], 3.0),
        ] {
            assert_eq!(median(&mut numbers), expected);
        }
        assert!(median(&mut []).is_nan());
    }
}
