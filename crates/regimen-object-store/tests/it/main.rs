//! Checkpoints in object stores: in memory and on a server, with faults, kills and damage.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

#[path = "../../../regimen/tests/it/checkpoint/common.rs"]
#[allow(dead_code)]
mod common;
mod damage;
mod failures;
mod flaky;
mod kills;
mod lock;
mod objects;
mod place;
#[cfg(feature = "s3")]
mod server;
#[cfg(feature = "http")]
mod web;
