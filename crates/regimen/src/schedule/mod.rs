//! Learning rate schedules: pure functions of a count of updates or epochs.
//!
//! A schedule holds no counter. The same count gives the same rate, so a resumed run has the rates
//! of an uninterrupted one. The count is chosen where the unit receives the schedule: updates or
//! epochs. The formulas are those of PyTorch's schedulers, with `t` for the count.
//!
//! Constructors reject invalid arguments (a rate that is negative or not finite, a length of zero)
//! with an error that names the argument.
//!
//! ```
//! use regimen::schedule::{Cosine, Schedule, ScheduleExt};
//!
//! let schedule = Cosine::new(1e-3, 900)?.minimum(1e-5)?.warm_up(100);
//! assert!(schedule.rate(0) < 2e-5);
//! assert_eq!(schedule.rate(100), 1e-3);
//! assert_eq!(schedule.rate(1_000), 1e-5);
//! # Ok::<(), regimen::BoxError>(())
//! ```

mod anneal_to;
mod constant;
mod cosine;
mod exponential;
mod linear;
mod multi_step;
mod one_cycle;
mod phases;
mod polynomial;
mod step_decay;
mod warm_up;

use std::f64::consts::PI;

use crate::BoxError;

pub use regimen_core::schedule::*;

pub use self::anneal_to::AnnealTo;
pub use self::constant::Constant;
pub use self::cosine::Cosine;
pub use self::exponential::Exponential;
pub use self::linear::Linear;
pub use self::multi_step::MultiStep;
pub use self::one_cycle::{Anneal, OneCycle};
pub use self::phases::Phases;
pub use self::polynomial::Polynomial;
pub use self::step_decay::StepDecay;
pub use self::warm_up::{ScheduleExt, WarmUp};

fn checked_rate(what: &str, rate: f64) -> Result<f64, BoxError> {
    if rate.is_finite() && rate >= 0.0 {
        return Ok(rate);
    }
    Err(format!("{what} is {rate}; give a finite number that is not negative").into())
}

fn checked_length(what: &str, length: u64) -> Result<u64, BoxError> {
    if length > 0 {
        return Ok(length);
    }
    Err(format!("{what} is 0; give 1 or more").into())
}

/// The completed fraction of `length` at `count`, from 0 to 1.
fn fraction(count: u64, length: u64) -> f64 {
    count.min(length) as f64 / length as f64
}

/// Linear interpolation between two rates; exact at both ends.
fn between(from: f64, to: f64, part: f64) -> f64 {
    from * (1.0 - part) + to * part
}

/// Cosine interpolation from 0 to 1.
fn half_cosine(part: f64) -> f64 {
    (1.0 - (PI * part).cos()) / 2.0
}
