//! Data made of other data: the first batches of it, changed batches, batches that are timed.

mod prefetch;

pub use prefetch::{Prefetched, PrefetchedEpoch, prefetched};

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use regimen_core::BoxError;
use regimen_core::data::{At, Data, Epoch, Fetched};

/// The first `batches` batches of every epoch of `data`, of whatever size they are.
pub fn take<D: Data>(data: D, batches: u64) -> Take<D> {
    Take { data, batches }
}

/// Data made by [`take`].
#[derive(Clone, Debug)]
pub struct Take<D> {
    data: D,
    batches: u64,
}

/// An epoch of [`Take`].
#[derive(Debug)]
pub struct TakeEpoch<E> {
    epoch: E,
    left: u64,
}

impl<D: Data> Data for Take<D> {
    type Batch = D::Batch;
    type Epoch<'a>
        = TakeEpoch<D::Epoch<'a>>
    where
        Self: 'a;

    fn epoch(&self, at: At<'_>) -> Result<Self::Epoch<'_>, BoxError> {
        let left = self.batches.checked_sub(at.skip).ok_or_else(|| {
            format!("{} batches were consumed of an epoch of which {} are taken now", at.skip, self.batches)
        })?;
        Ok(TakeEpoch { epoch: self.data.epoch(at)?, left })
    }

    fn batches(&self) -> Option<u64> {
        Some(self.data.batches()?.min(self.batches))
    }
}

impl<E: Epoch> Epoch for TakeEpoch<E> {
    type Batch = E::Batch;

    fn next(&mut self) -> Option<Result<Fetched<E::Batch>, BoxError>> {
        self.left = self.left.checked_sub(1)?;
        self.epoch.next()
    }

    fn batches_left(&self) -> Option<u64> {
        Some(self.epoch.batches_left()?.min(self.left))
    }

    fn notice(&mut self) -> Option<String> {
        self.epoch.notice()
    }
}

/// `data` with each batch changed by `f`, on the thread that asks for it.
///
/// For changes drawn at random take [`Loader::transform`](super::Loader::transform) or
/// [`transform_batch`](super::Loader::transform_batch), whose generators make them repeatable.
pub fn map<D: Data, B, F: Fn(D::Batch) -> B>(data: D, f: F) -> Map<D, F> {
    Map { data, f }
}

/// Data made by [`map`].
#[derive(Clone, Debug)]
pub struct Map<D, F> {
    data: D,
    f: F,
}

/// An epoch of [`Map`].
#[derive(Debug)]
pub struct MapEpoch<'a, E, F> {
    epoch: E,
    f: &'a F,
}

impl<D: Data, B, F: Fn(D::Batch) -> B> Data for Map<D, F> {
    type Batch = B;
    type Epoch<'a>
        = MapEpoch<'a, D::Epoch<'a>, F>
    where
        Self: 'a;

    fn epoch(&self, at: At<'_>) -> Result<Self::Epoch<'_>, BoxError> {
        Ok(MapEpoch { epoch: self.data.epoch(at)?, f: &self.f })
    }

    fn batches(&self) -> Option<u64> {
        self.data.batches()
    }
}

impl<E: Epoch, B, F: Fn(E::Batch) -> B> Epoch for MapEpoch<'_, E, F> {
    type Batch = B;

    fn next(&mut self) -> Option<Result<Fetched<B>, BoxError>> {
        let fetched = self.epoch.next()?;
        Some(fetched.map(|Fetched { batch, samples, position }| {
            let batch = (self.f)(batch);
            Fetched { batch, samples, position }
        }))
    }

    fn batches_left(&self) -> Option<u64> {
        self.epoch.batches_left()
    }

    fn notice(&mut self) -> Option<String> {
        self.epoch.notice()
    }
}

/// `data` that keeps account of how long its batches were waited for: see [`Timed::waiting`].
/// Give the run a reference to read it afterwards.
pub fn timed<D: Data>(data: D) -> Timed<D> {
    Timed { data, clock: Clock::default() }
}

/// Data made by [`timed`].
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

/// How long batches were waited for.
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
    /// What was waited so far, over all epochs.
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
    type Epoch<'a>
        = TimedEpoch<'a, D::Epoch<'a>>
    where
        Self: 'a;

    fn epoch(&self, at: At<'_>) -> Result<Self::Epoch<'_>, BoxError> {
        Ok(TimedEpoch { epoch: self.data.epoch(at)?, clock: &self.clock })
    }

    fn batches(&self) -> Option<u64> {
        self.data.batches()
    }
}

/// An epoch of [`Timed`].
#[derive(Debug)]
pub struct TimedEpoch<'a, E> {
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
