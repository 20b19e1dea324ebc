//! Tests of the crate through its public API.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod on_ranks;
mod ranks;
mod training_ranks;
mod without_launcher;
