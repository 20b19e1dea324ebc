//! Peers that can be left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use regimen::BoxError;
use regimen::data::Rank;
use regimen::engine::Bucket;
use regimen::peers::Peers;

/// Peers that can be left: this rank is then alone.
#[derive(Debug)]
pub(crate) struct Left(Arc<dyn Peers>, AtomicBool);

impl Left {
    pub(crate) fn new(peers: Arc<dyn Peers>) -> Self {
        Left(peers, AtomicBool::new(false))
    }

    pub(crate) fn leave(&self) {
        self.1.store(true, Ordering::Relaxed);
    }

    fn peers(&self) -> Option<&dyn Peers> {
        (!self.1.load(Ordering::Relaxed)).then_some(&*self.0)
    }
}

impl Peers for Left {
    fn rank(&self) -> Rank {
        self.peers().map_or(Rank::default(), |peers| peers.rank())
    }

    fn sum(&self, values: Bucket<'_>) -> Result<(), BoxError> {
        self.peers().map_or(Ok(()), |peers| peers.sum(values))
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, BoxError> {
        self.peers().map_or_else(|| Ok(vec![own.to_vec()]), |peers| peers.gather(own))
    }

    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), BoxError> {
        self.peers().map_or(Ok(()), |peers| peers.broadcast(bytes))
    }

    fn abort(&self, why: &str) {
        if let Some(peers) = self.peers() {
            peers.abort(why);
        }
    }
}
