//! The first batch, again and again.

use regimen_core::BoxError;
use regimen_core::data::{At, Data, Epoch, Fetched};

/// Made by [`DataExt::only_first_batch`](super::DataExt::only_first_batch).
pub(crate) struct FirstBatch<D> {
    data: D,
}

impl<D> FirstBatch<D> {
    pub(crate) fn new(data: D) -> Self {
        FirstBatch { data }
    }
}

impl<D: Data> Data for FirstBatch<D> {
    type Batch = D::Batch;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = D::Batch>, BoxError> {
        let batches = self.batches().unwrap_or(1);
        let left = batches
            .checked_sub(at.skip)
            .ok_or_else(|| format!("{} batches were consumed of an epoch that has {batches} now", at.skip))?;
        Ok(FirstEpoch { data: &self.data, first: At::epoch(0, at.seed).rank(at.rank), left })
    }

    fn batches(&self) -> Option<u64> {
        Some(self.data.batches().unwrap_or(1))
    }
}

struct FirstEpoch<'a, D> {
    data: &'a D,
    first: At,
    left: u64,
}

impl<D: Data> Epoch for FirstEpoch<'_, D> {
    type Batch = D::Batch;

    fn next(&mut self) -> Option<Result<Fetched<D::Batch>, BoxError>> {
        self.left = self.left.checked_sub(1)?;
        // Made anew, because not every batch can be cloned.
        let mut epoch = match self.data.epoch(self.first.clone()) {
            Ok(epoch) => epoch,
            Err(cause) => return Some(Err(cause)),
        };
        let fetched = epoch.next()?;
        Some(fetched.map(|Fetched { batch, samples, .. }| Fetched::new(batch, samples)))
    }

    fn batches_left(&self) -> Option<u64> {
        Some(self.left)
    }
}
