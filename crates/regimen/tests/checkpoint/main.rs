//! Checkpoints survive what can happen to a process and to a disk.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

mod common;
mod contract;
mod crash;
mod damage;
mod faults;
mod format;
mod lock;
mod python;
mod restore;
mod retention;
mod safetensors;
