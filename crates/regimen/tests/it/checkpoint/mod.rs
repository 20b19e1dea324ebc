//! Checkpoints survive failures of a process and of a disk.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

mod common;
mod contract;
mod crash;
mod damage;
mod differential;
mod faults;
mod format;
mod limits;
#[cfg(unix)]
mod links;
mod lock;
mod python;
mod restore;
mod retention;
mod safetensors;
