//! Saved state: arrays by name, the types with a saved state, and the parts of a unit.

pub use regimen_core::saved::*;
#[cfg(feature = "derive")]
pub use regimen_derive::AppState;
