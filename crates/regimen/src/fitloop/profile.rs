//! The times of the parts of a fit.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{DryRun, FitLoop, Set, Stages, StagesUnit};
use crate::auto_unit::Task;
use crate::callback::{Event, Events};
use crate::data::Data;
use crate::engine::{Engine, ToDevice};
use crate::state::{EntryPoint, Phase};
use crate::timer::Timer;
use crate::{BoxError, Callback, Error, State};

/// The times of a [`profile`](FitLoop::profile): a tree of blocks, each with its count, total, mean and percentiles.
///
/// As text it has the data that were read, and the mean of each block with its count:
///
/// ```text
/// RUNNING PROFILER: TRAIN LOOP - 1 EPOCH(s), all STEP(s)
///   train data :: batches: 3563 | batch size: 16 | last batch: 8 | dataset size: 57000
///
/// AVERAGE TIMES
/// 1. initialize       1.21ms x1
/// 2. epoch           18.40s  x1
/// 3. train           18.40s  x1
///    1. epoch start  16.00us x1
/// ```
pub struct Profile {
    timer: Timer,
    loops: Vec<(String, Vec<String>)>,
}

impl Profile {
    /// The times. The block `total` has `initialize`, `epoch` and `test`; an epoch has `train` and `valid`; these and
    /// `test` have `epoch start`, `fetch`, `step` and `epoch end`.
    ///
    /// A `step` is that of the unit: the stage, backward and update. The time of a stage at the start or end of an epoch
    /// is in `epoch start` or `epoch end`.
    pub fn timer(&self) -> &Timer {
        &self.timer
    }
}

/// The blocks within an epoch over one set.
const INNER: [&str; 4] = ["epoch start", "fetch", "step", "epoch end"];

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, data) in &self.loops {
            writeln!(f, "{title}")?;
            data.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
            writeln!(f)?;
        }
        let (mut outer, mut inner, mut rows) = (0, 0, Vec::new());
        for timing in self.timer.timings() {
            let mean = format!("{:.2?}", timing.mean().unwrap_or_default());
            if timing.depth() == 0 {
                continue;
            } else if INNER.contains(&timing.name()) {
                inner += 1;
                rows.push((format!("   {inner}. {}", timing.name()), mean, timing.count()));
            } else {
                (outer, inner) = (outer + 1, 0);
                rows.push((format!("{outer}. {}", timing.name()), mean, timing.count()));
            }
        }
        let total = self.timer.get(&["total"]).map(|timing| timing.total()).unwrap_or_default();
        let total = format!("{total:.2?}");
        let width = |of: &dyn Fn(&(String, String, u64)) -> usize| rows.iter().map(of).max().unwrap_or(0);
        let name_width = width(&|(name, ..)| name.chars().count()).max("total time:".len());
        let time_width = width(&|(_, time, _)| time.chars().count()).max(total.chars().count());
        writeln!(f, "AVERAGE TIMES")?;
        for (name, time, count) in &rows {
            writeln!(f, "{name:<name_width$}  {time:>time_width$} x{count}")?;
        }
        write!(f, "{:<name_width$}  {total:>time_width$}", "total time:")
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").field("timer", &self.timer).finish_non_exhaustive()
    }
}

impl<E: Engine, X, Y, O> FitLoop<'_, E, X, Y, O>
where
    X: ToDevice<E::Device>,
    Y: ToDevice<E::Device>,
{
    /// Measures the parts of a fit by a new `timer`: training and validation, and then the test stages if there are
    /// [test data](FitLoop::test_data). Everything is put back as it was: see [`Run::dry_run`](crate::Run::dry_run).
    ///
    /// On a device that computes asynchronously, give a timer whose [clock](Timer::with_clock) waits for it.
    ///
    /// ```
    /// # use regimen::engine::{Engine, ToDevice};
    /// # use regimen::fitloop::{DryRun, FitLoop};
    /// # fn example<E: Engine, X, Y, O>(mut trainer: FitLoop<'_, E, X, Y, O>) -> Result<(), regimen::Error>
    /// # where
    /// #     X: ToDevice<E::Device>,
    /// #     Y: ToDevice<E::Device>,
    /// # {
    /// use regimen::timer::Timer;
    ///
    /// println!("{}", trainer.profile(DryRun::epochs(1).steps(100), Timer::new())?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn profile(&mut self, length: DryRun, timer: Timer) -> Result<Profile, Error> {
        let watch = Stopwatch(Arc::new(Mutex::new(Times { timer, batch_sizes: [None; 3] })));
        watch.lock().timer.start("total");
        watch.lock().timer.start("initialize");
        let (_, test) = self.dry_run("profile", length, watch.clone(), |_| ())?;
        let mut times = watch.lock();
        while times.timer.stop().is_some() {}
        let data_of = |set| self.data[set as usize].as_ref();
        let line = |title: Set, set: Set| {
            let (data, size) = (data_of(set)?, times.batch_sizes[title as usize]?);
            Some(format!("{:>5} data :: {}", set.name(), describe(data, size)))
        };
        let train = [Set::Train, Set::Valid].into_iter().filter_map(|set| line(set, set)).collect();
        let mut loops = vec![(length.title("PROFILER", Set::Train), train)];
        if test.is_some() {
            let tested = line(Set::Test, length.tested(data_of(Set::Valid).is_some()));
            loops.push((length.title("PROFILER", Set::Test), tested.into_iter().collect()));
        }
        Ok(Profile { timer: std::mem::take(&mut times.timer), loops })
    }
}

/// The batches and samples of `data`, as far as they are known, given the samples of its first batch.
fn describe<B>(data: &impl Data<Batch = B>, first: u64) -> String {
    let (batches, samples) = (data.batches(), data.samples());
    let last = batches.zip(samples).and_then(|(batches, samples)| {
        let before = batches.checked_sub(1)?.checked_mul(first)?;
        Some(samples.checked_sub(before)?.min(first))
    });
    let numbers =
        [("batches", batches), ("batch size", Some(first)), ("last batch", last), ("dataset size", samples)];
    let known = numbers.into_iter().filter_map(|(name, number)| Some(format!("{name}: {}", number?)));
    known.collect::<Vec<_>>().join(" | ")
}

/// Times the events of a fit and of a test.
#[derive(Clone)]
struct Stopwatch(Arc<Mutex<Times>>);

struct Times {
    timer: Timer,
    /// The samples of the first batch of each set.
    batch_sizes: [Option<u64>; 3],
}

impl Stopwatch {
    fn lock(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Engine, X, Y, O> Callback<StagesUnit<E, X, Y, O>> for Stopwatch
where
    Stages<E, X, Y, O>: Task<E>,
{
    fn events(&self) -> Events {
        Events::ALL
    }

    fn on_event(
        &mut self,
        event: Event,
        state: &mut State,
        _: &mut StagesUnit<E, X, Y, O>,
    ) -> Result<(), BoxError> {
        use Event::*;
        let Times { timer, batch_sizes } = &mut *self.lock();
        let set = match (event.phase(), state.entry_point()) {
            (Some(Phase::Eval), EntryPoint::Evaluate) => Set::Test,
            (Some(Phase::Eval), _) => Set::Valid,
            _ => Set::Train,
        };
        match event {
            // The stage at the start of an epoch runs before the event of that name.
            CycleStart | EvalStart => {
                if event == CycleStart {
                    if timer.get(&["total", "initialize"]).is_some_and(|timing| timing.count() == 0) {
                        timer.stop();
                    }
                    timer.start("epoch");
                }
                timer.start(set.name());
                timer.start(INNER[0]);
            }
            TrainFetchStart | EvalFetchStart => timer.start(INNER[1]),
            TrainStepStart | EvalStepStart => timer.start(INNER[2]),
            TrainStepEnd | EvalStepEnd => {
                timer.stop();
                let samples = state.progress().samples;
                batch_sizes[set as usize].get_or_insert(samples);
                if state.last_in_epoch() {
                    timer.start(INNER[3]);
                }
            }
            TrainEpochStart | EvalEpochStart | TrainFetchEnd | EvalFetchEnd | CycleEnd => {
                timer.stop();
            }
            TrainEpochEnd | EvalEpochEnd => {
                timer.stop();
                timer.stop();
            }
            _ => {}
        }
        Ok(())
    }
}
