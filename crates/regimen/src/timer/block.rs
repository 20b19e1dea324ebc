//! The times of one block.

use std::borrow::Cow;
use std::time::Duration;

/// Times that are kept for percentiles.
const KEPT: usize = 4096;

/// A block with its times.
#[derive(Clone)]
pub(super) struct Block {
    name: Cow<'static, str>,
    /// The blocks in it, in the order in which they were first started.
    pub(super) inner: Vec<usize>,
    /// The place in `inner` of the block that is expected next: blocks come in the same order again and again.
    pub(super) next: usize,
    count: u64,
    /// In nanoseconds, like the times.
    total: u64,
    /// The newest [`KEPT`] times, in a ring.
    newest: Vec<u64>,
}

impl Block {
    pub(super) fn new(name: Cow<'static, str>) -> Self {
        Block { name, inner: Vec::new(), next: 0, count: 0, total: 0, newest: Vec::new() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn total(&self) -> Duration {
        Duration::from_nanos(self.total)
    }

    /// In nanoseconds.
    pub(super) fn newest(&self) -> &[u64] {
        &self.newest
    }

    /// Adds a time in nanoseconds.
    pub(super) fn add(&mut self, time: u64) {
        let oldest = (self.count % KEPT as u64) as usize;
        match self.newest.get_mut(oldest) {
            Some(oldest) => *oldest = time,
            None => self.newest.push(time),
        }
        self.count += 1;
        self.total = self.total.saturating_add(time);
    }

    pub(super) fn forget(&mut self) {
        (self.count, self.total) = (0, 0);
        self.newest.clear();
    }
}
