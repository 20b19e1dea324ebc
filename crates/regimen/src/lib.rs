//! The training loop for Rust.
#![cfg_attr(not(feature = "mmap"), forbid(unsafe_code))]
#![deny(unsafe_code)]

pub use regimen_core::*;
#[cfg(feature = "derive")]
pub use regimen_derive::{AppState, ToDevice};

pub mod callback;
pub mod checkpoint;
pub mod data;
pub mod log;
pub mod metric;
pub mod schedule;
pub mod signal;
