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
    count: u64,
    total: Duration,
    /// The newest [`KEPT`] times, in a ring.
    newest: Vec<Duration>,
}

impl Block {
    pub(super) fn new(name: Cow<'static, str>) -> Self {
        Block { name, inner: Vec::new(), count: 0, total: Duration::ZERO, newest: Vec::new() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn total(&self) -> Duration {
        self.total
    }

    pub(super) fn newest(&self) -> &[Duration] {
        &self.newest
    }

    pub(super) fn add(&mut self, time: Duration) {
        let oldest = (self.count % KEPT as u64) as usize;
        match self.newest.get_mut(oldest) {
            Some(oldest) => *oldest = time,
            None => self.newest.push(time),
        }
        self.count += 1;
        self.total = self.total.saturating_add(time);
    }

    pub(super) fn forget(&mut self) {
        (self.count, self.total) = (0, Duration::ZERO);
        self.newest.clear();
    }
}
