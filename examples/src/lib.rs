//! What the examples share: the handwritten digits and the networks that learn them.
#![forbid(unsafe_code)]

pub mod digits;
pub mod network;
