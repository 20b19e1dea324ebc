//! The clock of callbacks that measure time.

use std::time::Instant;

/// Reads the time: [`Instant::now`], or the clock of a test.
pub(crate) type Clock = fn() -> Instant;

#[cfg(test)]
pub(crate) mod by_hand;
