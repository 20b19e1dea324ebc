//! Batches changed by a function.

use regimen_core::BoxError;
use regimen_core::data::{At, Data, Epoch, Fetched};

/// Made by [`DataExt::map_batches`](super::DataExt::map_batches).
pub(crate) struct MapBatches<D, F> {
    data: D,
    f: F,
}

impl<D, F> MapBatches<D, F> {
    pub(crate) fn new(data: D, f: F) -> Self {
        MapBatches { data, f }
    }
}

impl<D: Data, B, F: Fn(D::Batch) -> B> Data for MapBatches<D, F> {
    type Batch = B;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = B>, BoxError> {
        Ok(MapEpoch { epoch: self.data.epoch(at)?, f: &self.f })
    }

    fn batches(&self) -> Option<u64> {
        self.data.batches()
    }

    fn samples(&self) -> Option<u64> {
        self.data.samples()
    }
}

struct MapEpoch<'a, E, F> {
    epoch: E,
    f: &'a F,
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
