//! A slow link.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use regimen_core::BoxError;
use regimen_core::data::Rank;
use regimen_core::engine::Bucket;
use regimen_core::error::Place;
use regimen_core::peers::Peers;

use super::Call;

/// Peers behind a slow link: each collective first sleeps, for the latency and for the time of the bytes that this
/// rank sends. It takes no buckets on a device, as it does not know their bytes.
#[derive(Debug)]
pub struct Slow {
    peers: Arc<dyn Peers>,
    latency: Duration,
    bytes_per_second: u64,
}

impl Slow {
    /// `peers` behind a link of this latency and bandwidth. A bandwidth of 0 counts as 1.
    pub fn new(peers: Arc<dyn Peers>, latency: Duration, bytes_per_second: u64) -> Self {
        Slow { peers, latency, bytes_per_second: bytes_per_second.max(1) }
    }

    fn sleep(&self, call: Call) {
        let seconds = call.bytes() as f64 / self.bytes_per_second as f64;
        thread::sleep(self.latency.saturating_add(Duration::from_secs_f64(seconds)));
    }
}

impl Peers for Slow {
    fn rank(&self) -> Rank {
        self.peers.rank()
    }

    fn sum(&self, values: Bucket<'_>) -> Result<(), BoxError> {
        self.sleep(Call::sum(&values)?);
        self.peers.sum(values)
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, BoxError> {
        self.sleep(Call::Gather(own.len()));
        self.peers.gather(own)
    }

    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), BoxError> {
        self.sleep(Call::Broadcast(bytes.len()));
        self.peers.broadcast(bytes)
    }

    fn commit(&self) -> Result<(), BoxError> {
        self.sleep(Call::Commit);
        self.peers.commit()
    }

    fn is_elastic(&self) -> bool {
        self.peers.is_elastic()
    }

    fn note_place(&self, place: Place) {
        self.peers.note_place(place);
    }

    fn abort(&self, why: &str) {
        self.peers.abort(why);
    }
}
