//! Tests of the crate through its public API.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[cfg(feature = "nccl")]
mod gpu;
mod on_ranks;
mod ranks;
mod training_ranks;
#[cfg(feature = "nccl")]
mod without_gpu;
mod without_launcher;
