//! Shared parts of the examples: the handwritten digits, their command line flags, and the networks.
#![forbid(unsafe_code)]

pub mod args;
pub mod digits;
#[cfg(feature = "burn")]
pub mod network;
#[cfg(feature = "burn")]
pub mod reading;
