//! Phases of a rate, one after another, with lengths in epochs.

use super::{Schedule, between, checked_rate, half_cosine};
use crate::BoxError;

/// Phases, each a ramp between two factors of a rate, with lengths in epochs and fractions of them.
///
/// With `p` for the completed part of a phase, the factor is `from + (to - from) * p` in a linear one,
/// `from + (to - from) * (1 - cos(pi * p)) / 2` in a cosine one, and `from * (to / from)^p` in a geometric one. A
/// phase ends where the next one begins, and reaches its last factor there. After the last phase the rate stays.
///
/// ```
/// use regimen::schedule::{Phases, Schedule};
///
/// // 100 updates per epoch: 2 epochs of warm-up, then 8 of a cosine down to a hundredth.
/// let rates = Phases::new(0.1, 100)?.linear(2.0, 0.0, 1.0)?.cosine(8.0, 1.0, 0.01)?;
/// assert_eq!([0, 100, 200, 600, 1_000].map(|update| rates.rate(update)), [0.0, 0.05, 0.1, 0.0505, 0.001]);
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Phases {
    rate: f64,
    updates_per_epoch: u64,
    phases: Vec<Phase>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Phase {
    /// In updates; may have a fraction.
    length: f64,
    from: f64,
    to: f64,
    ramp: Ramp,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ramp {
    Linear,
    Cosine,
    Geometric,
}

impl Phases {
    /// Phases of `rate`, for epochs of `updates_per_epoch` updates; none of them yet, so the rate is constant. For
    /// a count of epochs instead of updates give 1.
    pub fn new(rate: f64, updates_per_epoch: u64) -> Result<Self, BoxError> {
        let rate = checked_rate("phases: the rate", rate)?;
        let updates_per_epoch =
            super::checked_length("phases: the number of updates per epoch", updates_per_epoch)?;
        Ok(Phases { rate, updates_per_epoch, phases: Vec::new() })
    }

    /// Adds a phase of `epochs` with one factor.
    pub fn constant(self, epochs: f64, factor: f64) -> Result<Self, BoxError> {
        self.phase(epochs, factor, factor, Ramp::Linear)
    }

    /// Adds a phase of `epochs` in which the factor changes along a line.
    pub fn linear(self, epochs: f64, from: f64, to: f64) -> Result<Self, BoxError> {
        self.phase(epochs, from, to, Ramp::Linear)
    }

    /// Adds a phase of `epochs` in which the factor changes along half a cosine.
    pub fn cosine(self, epochs: f64, from: f64, to: f64) -> Result<Self, BoxError> {
        self.phase(epochs, from, to, Ramp::Cosine)
    }

    /// Adds a phase of `epochs` in which each update multiplies the factor by the same number. A factor of 0 is an
    /// error.
    pub fn geometric(self, epochs: f64, from: f64, to: f64) -> Result<Self, BoxError> {
        if from == 0.0 || to == 0.0 {
            return Err("phases: a geometric phase from or to 0 never changes; give small factors".into());
        }
        self.phase(epochs, from, to, Ramp::Geometric)
    }

    fn phase(mut self, epochs: f64, from: f64, to: f64, ramp: Ramp) -> Result<Self, BoxError> {
        if !(epochs.is_finite() && epochs > 0.0) {
            return Err(format!("phases: a phase of {epochs} epochs; give a finite number above 0").into());
        }
        let (from, to) = (checked_rate("phases: the factor", from)?, checked_rate("phases: the factor", to)?);
        self.phases.push(Phase { length: epochs * self.updates_per_epoch as f64, from, to, ramp });
        Ok(self)
    }
}

impl Phase {
    fn factor(&self, part: f64) -> f64 {
        let Phase { from, to, ramp, .. } = *self;
        match ramp {
            Ramp::Linear => between(from, to, part),
            Ramp::Cosine => between(from, to, half_cosine(part)),
            // Exact at both ends.
            Ramp::Geometric => from.powf(1.0 - part) * to.powf(part),
        }
    }
}

impl Schedule for Phases {
    fn rate(&self, count: u64) -> f64 {
        let (mut start, count) = (0.0, count as f64);
        for phase in &self.phases {
            if count < start + phase.length {
                return self.rate * phase.factor((count - start) / phase.length);
            }
            start += phase.length;
        }
        self.rate * self.phases.last().map_or(1.0, |phase| phase.to)
    }
}
