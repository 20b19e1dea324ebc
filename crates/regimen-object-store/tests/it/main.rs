//! Checkpoints in object stores: in one that fails, dies and is damaged, and on a server.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

#[path = "../../../regimen/tests/it/checkpoint/common.rs"]
#[allow(dead_code)]
mod common;
mod damage;
mod failures;
mod flaky;
mod kills;
mod lock;
mod objects;
#[cfg(feature = "s3")]
mod server;
