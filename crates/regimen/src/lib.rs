//! The training loop for Rust.
#![cfg_attr(not(feature = "mmap"), forbid(unsafe_code))]
#![deny(unsafe_code)]

pub use regimen_core::{
    AutoUnit, BoxError, Callback, Error, Fit, Loss, Run, State, Step, Task, auto_unit, error, random, run,
    state, text, unit,
};

pub mod callback;
pub mod checkpoint;
pub mod data;
pub mod engine;
pub mod log;
pub mod metric;
pub mod saved;
pub mod schedule;
pub mod signal;
