//! Runs, their limits and reports, savers, and a guard against numbers that are not finite.

pub use regimen_core::run::*;

pub use crate::nan_guard::NanGuard;
