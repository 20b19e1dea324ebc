//! What the examples share: the handwritten digits, the flags of those that learn them, and networks.
#![forbid(unsafe_code)]

pub mod args;
pub mod digits;
#[cfg(feature = "burn")]
pub mod network;
#[cfg(feature = "burn")]
pub mod reading;
