//! The number of samples per batch, from a function.

use regimen_core::BoxError;
use regimen_core::data::{At, Data, Epoch, Fetched};

/// Made by [`DataExt::count_samples`](super::DataExt::count_samples).
pub(crate) struct CountSamples<D, F> {
    data: D,
    samples: F,
}

impl<D, F> CountSamples<D, F> {
    pub(crate) fn new(data: D, samples: F) -> Self {
        CountSamples { data, samples }
    }
}

impl<D: Data, F: Fn(&D::Batch) -> u64> Data for CountSamples<D, F> {
    type Batch = D::Batch;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = D::Batch>, BoxError> {
        Ok(CountEpoch { epoch: self.data.epoch(at)?, samples: &self.samples })
    }

    fn batches(&self) -> Option<u64> {
        self.data.batches()
    }
}

struct CountEpoch<'a, E, F> {
    epoch: E,
    samples: &'a F,
}

impl<E: Epoch, F: Fn(&E::Batch) -> u64> Epoch for CountEpoch<'_, E, F> {
    type Batch = E::Batch;

    fn next(&mut self) -> Option<Result<Fetched<E::Batch>, BoxError>> {
        let fetched = self.epoch.next()?;
        Some(fetched.map(|fetched| Fetched { samples: (self.samples)(&fetched.batch), ..fetched }))
    }

    fn batches_left(&self) -> Option<u64> {
        self.epoch.batches_left()
    }

    fn notice(&mut self) -> Option<String> {
        self.epoch.notice()
    }
}
