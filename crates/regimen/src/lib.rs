// Links of the README are those of GitHub; the first definition of each counts, and is the guide's page.
#![doc = include_str!("../guide/links.txt")]
// Its program needs Burn. It is the example `first`, which is compiled and run there; a test compares the two.
#![cfg_attr(not(doctest), doc = include_str!("../README.md"))]
#![cfg_attr(not(feature = "mmap"), forbid(unsafe_code))]
#![deny(unsafe_code)]

pub use regimen_core::{
    AutoUnit, BoxError, Callback, Error, Fit, Loss, Run, State, Step, Task, auto_unit, error, peers, random,
    state, text, unit,
};

pub mod callback;
pub mod checkpoint;
pub mod data;
pub mod engine;
pub mod finder;
pub mod fitloop;
pub mod folder;
pub mod guide;
pub mod launcher;
pub mod log;
pub mod memory;
pub mod metric;
pub mod preemption;
pub mod profile;
pub mod replay;
pub mod run;
pub mod runner;
pub mod saved;
pub mod schedule;
pub mod signal;
pub mod summary;
pub mod timer;

mod fast_dev_run;
mod nan_guard;
mod replace_file;
mod same_file;
mod sanity_evaluation;
mod system;
mod time;
