//! What is saved: arrays by name, the values that have a saved state, and the parts of a unit.

pub use regimen_core::saved::*;
#[cfg(feature = "derive")]
pub use regimen_derive::AppState;
