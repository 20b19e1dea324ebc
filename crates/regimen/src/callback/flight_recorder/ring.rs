//! The ring of the last steps.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Flight, FlightStep};
use crate::data::{At, Rank};
use crate::metric::Reading;
use crate::state::Phase;
use crate::time::{since_1970, utc};
use crate::{BoxError, State};

/// The last steps of a run, which its thread adds and any thread writes.
pub(crate) struct Recorded {
    /// `None` if nothing is written.
    path: Option<PathBuf>,
    ring: Mutex<Ring>,
    samples: Mutex<Option<Arc<Indices>>>,
    /// Held during a write: two threads would write the same new file.
    writing: Mutex<()>,
}

/// The indices of the samples of a batch in an epoch.
type Indices = dyn Fn(&At, u64) -> Result<Vec<usize>, BoxError> + Send + Sync;

/// Takes the lock, also after a panic: each field is written at once.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorded {
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        let ring = Mutex::new(Ring { most: 256, seed: 0, names: Vec::new(), steps: VecDeque::new() });
        Recorded { path, ring, samples: Mutex::default(), writing: Mutex::default() }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    pub(super) fn keep(&self, most: usize) {
        locked(&self.ring).most = most;
    }

    pub(super) fn tell_samples(
        &self,
        indices: impl Fn(&At, u64) -> Result<Vec<usize>, BoxError> + Send + Sync + 'static,
    ) {
        *locked(&self.samples) = Some(Arc::new(indices));
    }

    pub(super) fn check(&self) -> Result<(), BoxError> {
        match locked(&self.ring).most {
            0 => Err("`FlightRecorder::last`: 0 keeps no step; give 1 or more".into()),
            _ => Ok(()),
        }
    }

    /// A step begins with the fetch of its batch.
    pub(super) fn begin(&self, state: &State, time: Duration) {
        locked(&self.ring).begin(state, time);
    }

    /// Its batch has come after this wait.
    pub(super) fn fetched(&self, waited: Duration) {
        if let Some(newest) = locked(&self.ring).steps.back_mut() {
            newest.waited = Some(waited);
        }
    }

    /// It is complete.
    pub(super) fn complete(&self, state: &State, lasted: Duration) {
        locked(&self.ring).complete(state, lasted);
    }

    /// Writes the file, if a step was made. Numbers on the device are read if the caller `waits` for them. `step` is
    /// the step of a number that is not finite.
    pub(crate) fn write(&self, reason: &str, step: Option<u64>, waits: bool) -> Result<(), BoxError> {
        let Some(path) = &self.path else { return Ok(()) };
        let _one = locked(&self.writing);
        let (seed, steps) = self.steps(waits);
        if steps.is_empty() {
            return Ok(());
        }
        Flight { reason: reason.to_owned(), time: utc(since_1970()), seed, step, steps }.write(path)
    }

    /// The newest step.
    pub(crate) fn newest(&self) -> Option<FlightStep> {
        self.steps(true).1.pop()
    }

    /// The seed of the run and the steps. The ring is free meanwhile, because a device may never answer.
    fn steps(&self, waits: bool) -> (u64, Vec<FlightStep>) {
        let Ring { seed, names, steps, .. } = locked(&self.ring).clone();
        let mut asked = Asked { waits, indices: locked(&self.samples).clone() };
        (seed, steps.into_iter().map(|step| step.told(&names, &mut asked)).collect())
    }
}

#[derive(Clone)]
struct Ring {
    /// The most steps that are kept.
    most: usize,
    seed: u64,
    /// The names of metrics, to which the steps refer.
    names: Vec<String>,
    steps: VecDeque<Kept>,
}

/// One step in the ring.
#[derive(Clone, Default)]
struct Kept {
    /// The place before its batch.
    at: At,
    batch: u64,
    step: u64,
    /// Samples before it, and in it.
    before: u64,
    samples: u64,
    time: Duration,
    waited: Option<Duration>,
    lasted: Option<Duration>,
    /// Values, with the places of their names.
    values: Vec<(usize, Reading)>,
}

impl Ring {
    fn begin(&mut self, state: &State, time: Duration) {
        // The oldest step gives its memory to the new one.
        let oldest = if self.most <= self.steps.len() { self.steps.pop_front() } else { None };
        let mut values = oldest.unwrap_or_default().values;
        values.clear();
        let progress = state.train_progress();
        self.seed = state.seed();
        self.steps.push_back(Kept {
            at: state.at().rank(Rank::default()),
            batch: state.batch_at_hand(),
            step: progress.steps + 1,
            before: progress.samples,
            time,
            values,
            ..Kept::default()
        });
    }

    fn complete(&mut self, state: &State, lasted: Duration) {
        let Some(newest) = self.steps.back_mut() else { return };
        let progress = state.train_progress();
        newest.samples = progress.samples.saturating_sub(newest.before);
        newest.lasted = Some(lasted);
        for (n, metric) in state.metrics(Phase::Train).iter().enumerate() {
            if let Some(reading) = metric.reading_in_step(progress.steps) {
                newest.values.push((place(&mut self.names, n, metric.key().name()), reading));
            }
        }
    }
}

/// The place of `name` among `names`, which is `n` unless metrics were restored meanwhile.
fn place(names: &mut Vec<String>, n: usize, name: &str) -> usize {
    if names.get(n).is_some_and(|at| at == name) {
        return n;
    }
    names.iter().position(|other| other == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    })
}

/// What the steps are asked for. After a panic it is not asked for again.
struct Asked {
    /// Whether numbers on the device are waited for.
    waits: bool,
    indices: Option<Arc<Indices>>,
}

impl Asked {
    fn value(&mut self, reading: &Reading) -> Option<f64> {
        if !self.waits {
            return reading.try_get();
        }
        // A device that has failed may panic.
        let read = catch_unwind(AssertUnwindSafe(|| reading.get()));
        self.waits = read.is_ok();
        read.ok()?.ok()
    }

    fn indices(&mut self, at: &At, batch: u64) -> Option<Vec<usize>> {
        let indices = self.indices.clone()?;
        // The dataset is code of the user.
        match catch_unwind(AssertUnwindSafe(|| indices(at, batch))) {
            Ok(told) => told.ok(),
            Err(_) => {
                self.indices = None;
                None
            }
        }
    }
}

impl Kept {
    fn told(self, names: &[String], asked: &mut Asked) -> FlightStep {
        let Kept { at, batch, step, samples, time, waited, lasted, values, .. } = self;
        let value = |(n, reading): (usize, Reading)| Some((names.get(n)?.clone(), asked.value(&reading)?));
        FlightStep {
            step,
            epoch: at.epoch,
            batch,
            samples,
            complete: lasted.is_some(),
            metrics: values.into_iter().filter_map(value).collect(),
            data_seconds: waited.map(|time| time.as_secs_f64()),
            step_seconds: lasted.map(|time| time.as_secs_f64()),
            time: utc(time),
            indices: asked.indices(&at, batch),
        }
    }
}
