//! A process that trains alone.

use std::time::Duration;

use regimen_core::BoxError;
use regimen_core::data::Rank;
use regimen_core::engine::Bucket;
use regimen_core::peers::Peers;

use crate::Collective;

/// The only rank. Its calls return at once, and never fail. It takes buckets on any device, as its sums are their values.
#[derive(Clone, Copy, Debug, Default)]
pub struct Solo;

impl Peers for Solo {
    fn rank(&self) -> Rank {
        Rank::default()
    }

    fn sum(&self, _: Bucket<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn takes_device(&self) -> bool {
        true
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, BoxError> {
        Ok(vec![own.to_vec()])
    }

    fn broadcast(&self, _: &mut [u8]) -> Result<(), BoxError> {
        Ok(())
    }

    fn abort(&self, _: &str) {}
}

impl Collective for Solo {
    fn local_rank(&self) -> u64 {
        0
    }

    fn set_patience(&self, _: Duration) {}

    fn on_hang(&self, _: Box<dyn FnOnce(&str) + Send>) {}
}
