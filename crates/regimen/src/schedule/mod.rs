//! Learning rates as pure functions of how far training has come.
//!
//! A schedule holds no counter: the same count gives the same rate, so a resumed run has the rates
//! it would have had. Whether counts are updates or epochs is said where the schedule is given to
//! the unit; the formulas are those of PyTorch's schedulers, with `t` for the count.
//!
//! Constructors refuse what no training can use (a rate below zero or not finite, a length of
//! zero) with an error that says which argument.
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

/// How much of `length` is done at `count`, from 0 to 1.
fn fraction(count: u64, length: u64) -> f64 {
    count.min(length) as f64 / length as f64
}

/// `part` of the way from one rate to another, along a straight line; exact at both ends.
fn between(from: f64, to: f64, part: f64) -> f64 {
    from * (1.0 - part) + to * part
}

/// `part` of the way along half a cosine, from 0 to 1.
fn half_cosine(part: f64) -> f64 {
    (1.0 - (PI * part).cos()) / 2.0
}
