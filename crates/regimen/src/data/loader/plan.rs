//! The plan of one epoch: everything that decides its batches, but for the samples themselves.

use regimen_core::BoxError;
use regimen_core::data::Rank;
use regimen_core::error::WithCauses;
use regimen_core::random::{Random, keyed};

use super::sampler::Order;
use super::shard::Shard;
use crate::data::fault::catch;

/// The order of one epoch, its batches and the keys of its random choices.
pub(crate) struct Plan {
    /// The name of the dataset.
    pub(crate) dataset: String,
    /// The number of samples in the dataset.
    pub(crate) len: usize,
    pub(crate) order: Order,
    pub(crate) shard: Shard,
    pub(crate) rank: Rank,
    pub(crate) seed: u64,
    pub(crate) epoch: u64,
    pub(crate) skip_bad_samples: bool,
}

impl Plan {
    /// The index of the sample at `position` of the order. A sampler of the user's may panic.
    pub(crate) fn index(&self, position: u64) -> Result<usize, BoxError> {
        catch(|| Ok(self.order.index(position))).map_err(|error| {
            format!("dataset `{}`: its sampler at position {position}: {error}", self.dataset).into()
        })
    }

    /// The generator of the sample at `position`, which is that at `index` of the dataset.
    pub(crate) fn sample_random(&self, position: u64, index: usize) -> Random {
        Random::new(keyed(self.seed, "sample", self.epoch, self.order.key(position, index)))
    }

    /// The generator of batch `number`.
    pub(crate) fn batch_random(&self, number: u64) -> Random {
        let index = number * self.rank.count + self.rank.index;
        Random::new(keyed(self.seed, "batch", self.epoch, index))
    }

    /// The error of batch `number`.
    pub(crate) fn fault(&self, number: u64, error: BoxError) -> BoxError {
        format!("dataset `{}` batch {number}: {}", self.dataset, WithCauses(&*error)).into()
    }
}
