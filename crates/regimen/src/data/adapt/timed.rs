//! The time that a run waits for its batches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use regimen_core::BoxError;
use regimen_core::data::{At, Data, Epoch, Fetched};

/// Data that measures how long its batches are waited for: made by
/// [`DataExt::timed`](super::DataExt::timed).
#[derive(Debug)]
pub struct Timed<D> {
    data: D,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Clock {
    batches: AtomicU64,
    nanoseconds: AtomicU64,
    longest: AtomicU64,
}

/// The time spent waiting for batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Batches that were given.
    pub batches: u64,
    /// The time of all of them together.
    pub total: Duration,
    /// The time of the one that took longest.
    pub longest: Duration,
}

impl<D> Timed<D> {
    pub(crate) fn new(data: D) -> Self {
        Timed { data, clock: Clock::default() }
    }

    /// The waiting so far, over all epochs.
    pub fn waiting(&self) -> Waiting {
        let nanoseconds = |count: &AtomicU64| Duration::from_nanos(count.load(Ordering::Relaxed));
        Waiting {
            batches: self.clock.batches.load(Ordering::Relaxed),
            total: nanoseconds(&self.clock.nanoseconds),
            longest: nanoseconds(&self.clock.longest),
        }
    }
}

impl<D: Data> Data for Timed<D> {
    type Batch = D::Batch;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = D::Batch>, BoxError> {
        Ok(TimedEpoch { epoch: self.data.epoch(at)?, clock: &self.clock })
    }

    fn batches(&self) -> Option<u64> {
        self.data.batches()
    }

    fn samples(&self) -> Option<u64> {
        self.data.samples()
    }
}

struct TimedEpoch<'a, E> {
    epoch: E,
    clock: &'a Clock,
}

impl<E: Epoch> Epoch for TimedEpoch<'_, E> {
    type Batch = E::Batch;

    fn next(&mut self) -> Option<Result<Fetched<E::Batch>, BoxError>> {
        let start = Instant::now();
        let fetched = self.epoch.next()?;
        let took = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.clock.batches.fetch_add(1, Ordering::Relaxed);
        self.clock.nanoseconds.fetch_add(took, Ordering::Relaxed);
        self.clock.longest.fetch_max(took, Ordering::Relaxed);
        Some(fetched)
    }

    fn batches_left(&self) -> Option<u64> {
        self.epoch.batches_left()
    }

    fn notice(&mut self) -> Option<String> {
        self.epoch.notice()
    }
}
