//! The first batches of every epoch.

use regimen_core::BoxError;
use regimen_core::data::{At, Data, Epoch, Fetched};

/// Made by [`DataExt::take_batches`](super::DataExt::take_batches).
pub(crate) struct TakeBatches<D> {
    data: D,
    batches: u64,
}

impl<D> TakeBatches<D> {
    pub(crate) fn new(data: D, batches: u64) -> Self {
        TakeBatches { data, batches }
    }
}

impl<D: Data> Data for TakeBatches<D> {
    type Batch = D::Batch;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = D::Batch>, BoxError> {
        let left = self.batches.checked_sub(at.skip).ok_or_else(|| {
            format!("{} batches were consumed of an epoch of which {} are taken now", at.skip, self.batches)
        })?;
        Ok(TakeEpoch { epoch: self.data.epoch(at)?, left })
    }

    fn batches(&self) -> Option<u64> {
        Some(self.data.batches()?.min(self.batches))
    }
}

struct TakeEpoch<E> {
    epoch: E,
    left: u64,
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
