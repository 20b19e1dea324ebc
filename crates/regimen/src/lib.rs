//! The training loop for Rust.
#![forbid(unsafe_code)]

pub use regimen_core::*;

pub mod callback;
pub mod data;
pub mod log;
pub mod metric;
pub mod schedule;
