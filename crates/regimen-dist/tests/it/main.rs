//! Tests of the crate through its public API.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod on_ranks;
mod ranks;
mod training_ranks;
mod without_launcher;
