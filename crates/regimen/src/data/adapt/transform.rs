//! Batches changed at random.

use regimen_core::BoxError;
use regimen_core::data::{At, Data, Epoch, Fetched};
use regimen_core::random::{Random, keyed};

/// Made by [`DataExt::transform_batches`](super::DataExt::transform_batches).
pub(crate) struct TransformBatches<D, F> {
    data: D,
    stream: String,
    f: F,
}

impl<D, F> TransformBatches<D, F> {
    pub(crate) fn new(data: D, stream: &str, f: F) -> Self {
        TransformBatches { data, stream: stream.to_owned(), f }
    }
}

impl<D, B, F> Data for TransformBatches<D, F>
where
    D: Data,
    F: Fn(D::Batch, &mut Random) -> Result<B, BoxError>,
{
    type Batch = B;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = B>, BoxError> {
        let key = keyed(at.seed, &self.stream, at.epoch, at.rank.index);
        let next = at.skip;
        Ok(TransformEpoch { epoch: self.data.epoch(at)?, stream: &self.stream, f: &self.f, key, next })
    }

    fn batches(&self) -> Option<u64> {
        self.data.batches()
    }

    fn samples(&self) -> Option<u64> {
        self.data.samples()
    }
}

struct TransformEpoch<'a, E, F> {
    epoch: E,
    stream: &'a str,
    f: &'a F,
    /// Of the epoch.
    key: u64,
    /// The number of the next batch in the epoch.
    next: u64,
}

impl<E, B, F> Epoch for TransformEpoch<'_, E, F>
where
    E: Epoch,
    F: Fn(E::Batch, &mut Random) -> Result<B, BoxError>,
{
    type Batch = B;

    fn next(&mut self) -> Option<Result<Fetched<B>, BoxError>> {
        let fetched = self.epoch.next()?;
        let mut random = Random::new(keyed(self.key, "batch", 0, self.next));
        self.next += 1;
        Some(fetched.and_then(|Fetched { batch, samples, position }| {
            let batch = (self.f)(batch, &mut random).map_err(|cause| format!("{}: {cause}", self.stream))?;
            Ok(Fetched { batch, samples, position })
        }))
    }

    fn batches_left(&self) -> Option<u64> {
        self.epoch.batches_left()
    }

    fn notice(&mut self) -> Option<String> {
        self.epoch.notice()
    }
}
