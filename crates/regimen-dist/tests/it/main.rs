//! Tests of the crate through its public API.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[cfg(feature = "nccl")]
mod gpu;
#[cfg(feature = "nccl")]
mod no_device;
mod on_ranks;
mod ranks;
mod training_ranks;
mod without_launcher;
