//! Runs, their limits and reports, savers, safe starts, and a guard against numbers that are not finite.

pub use regimen_core::run::*;

pub use crate::fast_dev_run::FastDevRun;
pub use crate::nan_guard::NanGuard;
pub use crate::sanity_evaluation::SanityEvaluation;
