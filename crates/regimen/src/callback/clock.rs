//! The clock of callbacks that measure time.

use std::time::Instant;

/// Reads the time: [`Instant::now`], or the clock of a test.
pub(super) type Clock = fn() -> Instant;

#[cfg(test)]
pub(super) mod by_hand;
