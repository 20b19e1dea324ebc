//! The statistics of one block.

use std::fmt;
use std::time::Duration;

use super::block::Block;

/// The statistics of a block of a [`Timer`](super::Timer).
#[derive(Clone, Copy)]
pub struct Timing<'t> {
    block: &'t Block,
    depth: usize,
    /// The total that the share is of.
    of: Duration,
}

impl<'t> Timing<'t> {
    pub(super) fn new(block: &'t Block, depth: usize, of: Duration) -> Self {
        Timing { block, depth, of }
    }

    /// The name of the block.
    pub fn name(&self) -> &'t str {
        self.block.name()
    }

    /// The number of blocks around it.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// How often it was timed.
    pub fn count(&self) -> u64 {
        self.block.count()
    }

    /// The sum of its times.
    pub fn total(&self) -> Duration {
        self.block.total()
    }

    /// The mean of its times. Returns `None` if there is no time.
    pub fn mean(&self) -> Option<Duration> {
        let mean = self.total().as_nanos().checked_div(u128::from(self.count()))?;
        Some(Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX)))
    }

    /// The largest of the shortest `percent` percent of its times: one that was measured, never a mean of two.
    /// 0 is the shortest and 100 the longest. Of more than 4096 times, the newest 4096 count.
    ///
    /// Returns `None` if there is no time, and if `percent` is not from 0 to 100.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let mut times = self.block.newest().to_vec();
        let last = times.len().checked_sub(1).filter(|_| (0.0..=100.0).contains(&percent))?;
        let at = (percent / 100.0 * last as f64).floor() as usize;
        Some(Duration::from_nanos(*times.select_nth_unstable(at.min(last)).1))
    }

    /// Its part in the total of the block around it, from 0 to 1; of an outermost block, in the sum of all
    /// outermost blocks. Returns `None` if that has no time yet.
    pub fn share(&self) -> Option<f64> {
        (!self.of.is_zero()).then(|| self.total().as_secs_f64() / self.of.as_secs_f64())
    }
}

impl fmt::Debug for Timing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timing")
            .field("name", &self.name())
            .field("depth", &self.depth)
            .field("count", &self.count())
            .field("total", &self.total())
            .finish_non_exhaustive()
    }
}
