//! The first epoch, again and again.

use regimen_core::BoxError;
use regimen_core::data::{At, Data, Epoch};

/// Made by [`DataExt::overfit_batches`](super::DataExt::overfit_batches).
pub(crate) struct FirstEpoch<D> {
    data: D,
}

impl<D> FirstEpoch<D> {
    pub(crate) fn new(data: D) -> Self {
        FirstEpoch { data }
    }
}

impl<D: Data> Data for FirstEpoch<D> {
    type Batch = D::Batch;

    fn epoch(&self, mut at: At) -> Result<impl Epoch<Batch = D::Batch>, BoxError> {
        at.epoch = 0;
        self.data.epoch(at)
    }

    fn batches(&self) -> Option<u64> {
        self.data.batches()
    }

    fn samples(&self) -> Option<u64> {
        self.data.samples()
    }
}
