//! The trait for tensor libraries, and batches on a device.

pub use regimen_core::engine::*;
#[cfg(feature = "derive")]
pub use regimen_derive::ToDevice;
