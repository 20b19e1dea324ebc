//! The doubles, the toy library, and the suite that engines must pass.
//!
//! One program, because each is linked by itself. What needs an allocator or a process of its own stands beside
//! this folder.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod doubles;
mod engine_suite;
mod overlap;
mod peers;
mod toy;
