//! Finders and safe starts: their results, and that the run afterwards has the bits of one without them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bits;
mod rates;
mod seeds;
mod sizes;
mod starts;
