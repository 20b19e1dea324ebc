//! Each part of the engine separately. No test depends on the draws of Burn's generator, so they may run
//! concurrently.

// Helpers are not tests in the eyes of the lint.
#![allow(clippy::unwrap_used)]

mod classification;
mod device;
mod engine;
mod gradients;
mod module_state;
mod optimizer_state;
mod precision;
mod samples;
mod shares;
mod support;
