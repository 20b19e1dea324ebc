//! Each part of the engine on its own. None of these depends on what Burn's generator draws, so
//! they may run side by side.

// Helpers are not tests in the eyes of the lint.
#![allow(clippy::unwrap_used)]

mod device;
mod engine;
mod gradients;
mod module_state;
mod optimizer_state;
mod precision;
mod support;
