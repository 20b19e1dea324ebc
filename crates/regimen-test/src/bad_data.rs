//! Data that fails, panics, delays or misreports its length.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use regimen_core::BoxError;
use regimen_core::data::{At, Data, Epoch, Fetched};

use crate::act::panics;

/// An adaptor that makes data fail on request.
///
/// Fetches are counted from 1 over all epochs. Each fault happens once, so a run that is called
/// again continues. A failed fetch consumes no batch.
///
/// ```
/// use regimen_core::run::{Train, train};
/// use regimen_test::{BadData, RecordingUnit, Transcript};
///
/// let data = BadData::new([1, 2, 3]).fail_at(2);
/// let error = train(&mut RecordingUnit::new(&Transcript::new()), &data, Train::epochs(1)).unwrap_err();
/// assert_eq!(error.place().step, 1);
/// ```
#[derive(Debug)]
pub struct BadData<D> {
    data: D,
    fail_at: Option<u64>,
    panic_at: Option<u64>,
    notify_at: Option<u64>,
    fail_epoch_at: Option<u64>,
    claim: Option<Option<u64>>,
    delay: Duration,
    fetches: AtomicU64,
    epochs: AtomicU64,
}

impl<D> BadData<D> {
    /// Wraps `data`, without any fault.
    pub fn new(data: D) -> Self {
        BadData {
            data,
            fail_at: None,
            panic_at: None,
            notify_at: None,
            fail_epoch_at: None,
            claim: None,
            delay: Duration::ZERO,
            fetches: AtomicU64::new(0),
            epochs: AtomicU64::new(0),
        }
    }

    /// Makes the `n`-th fetch an error: `told to fail`.
    pub fn fail_at(self, n: u64) -> Self {
        BadData { fail_at: Some(n), ..self }
    }

    /// Makes the `n`-th fetch panic: `told to panic`.
    pub fn panic_at(self, n: u64) -> Self {
        BadData { panic_at: Some(n), ..self }
    }

    /// Makes the `n`-th fetch leave a notice: `told to notify`.
    pub fn notify_at(self, n: u64) -> Self {
        BadData { notify_at: Some(n), ..self }
    }

    /// Makes the `n`-th request for an epoch an error: `told to fail`. Continued epochs count.
    pub fn fail_epoch_at(self, n: u64) -> Self {
        BadData { fail_epoch_at: Some(n), ..self }
    }

    /// Reports `batches` as the length of an epoch, or `None` for an unknown length.
    pub fn claim(self, batches: Option<u64>) -> Self {
        BadData { claim: Some(batches), ..self }
    }

    /// Sleeps for `delay` at each fetch.
    pub fn delay(self, delay: Duration) -> Self {
        BadData { delay, ..self }
    }

    /// Number of fetches, including those that found the end of an epoch.
    pub fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Relaxed)
    }
}

struct BadEpoch<'a, D, E> {
    epoch: E,
    data: &'a BadData<D>,
    notice: Option<String>,
}

impl<D: Data> Data for BadData<D> {
    type Batch = D::Batch;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = D::Batch>, BoxError> {
        let n = 1 + self.epochs.fetch_add(1, Ordering::Relaxed);
        if self.fail_epoch_at == Some(n) {
            return Err("told to fail".into());
        }
        Ok(BadEpoch { epoch: self.data.epoch(at)?, data: self, notice: None })
    }

    fn batches(&self) -> Option<u64> {
        self.claim.unwrap_or_else(|| self.data.batches())
    }
}

impl<D, E: Epoch> Epoch for BadEpoch<'_, D, E> {
    type Batch = E::Batch;

    fn next(&mut self) -> Option<Result<Fetched<E::Batch>, BoxError>> {
        let n = Some(1 + self.data.fetches.fetch_add(1, Ordering::Relaxed));
        std::thread::sleep(self.data.delay);
        if n == self.data.fail_at {
            return Some(Err("told to fail".into()));
        }
        if n == self.data.panic_at {
            panics();
        }
        if n == self.data.notify_at {
            self.notice = Some("told to notify".to_owned());
        }
        self.epoch.next()
    }

    fn batches_left(&self) -> Option<u64> {
        // The epoch must not correct the length that the data misreports.
        if self.data.claim.is_some() { None } else { self.epoch.batches_left() }
    }

    fn notice(&mut self) -> Option<String> {
        self.notice.take().or_else(|| self.epoch.notice())
    }
}
