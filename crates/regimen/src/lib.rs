//! The training loop for Rust.
#![forbid(unsafe_code)]

pub use regimen_core::*;
#[cfg(feature = "derive")]
pub use regimen_derive::AppState;

pub mod callback;
pub mod data;
pub mod log;
pub mod metric;
pub mod schedule;
pub mod signal;
