//! Annealing to a constant rate, as in stochastic weight averaging.

use super::{Anneal, Schedule, between, checked_length, checked_rate, fraction, half_cosine};
use crate::BoxError;

/// Another schedule until `start`, then an annealing from the rate at `start` to a constant rate.
///
/// With `p = min(t - start, length) / length`, the rate from `start` on is
/// `schedule(start) + (rate - schedule(start)) * (1 - cos(pi * p)) / 2`, or, if linear,
/// `schedule(start) + (rate - schedule(start)) * p`.
///
/// This is PyTorch's `SWALR(swa_lr = rate, anneal_epochs = length)`. TorchTNT steps that instead of
/// the other schedule after the warm-up of its averages.
///
/// ```
/// use regimen::schedule::{AnnealTo, Cosine, Schedule};
/// use regimen::auto_unit::Averaging;
///
/// // Averages from update 9000 on, at a rate that is constant from 10000 on.
/// let averaging = Averaging::swa().warm_up(9_000).every_nth(10);
/// let rates = AnnealTo::new(Cosine::new(0.1, 12_000)?, 9_000, 1_000, 0.05)?;
/// assert_eq!(rates.rate(10_000), 0.05);
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnnealTo<S> {
    schedule: S,
    start: u64,
    length: u64,
    rate: f64,
    anneal: Anneal,
}

impl<S: Schedule> AnnealTo<S> {
    /// Follows `schedule` for `start` counts, and reaches `rate` after `length` more.
    pub fn new(schedule: S, start: u64, length: u64, rate: f64) -> Result<Self, BoxError> {
        let length = checked_length("annealing schedule: the length", length)?;
        let rate = checked_rate("annealing schedule: the last rate", rate)?;
        Ok(AnnealTo { schedule, start, length, rate, anneal: Anneal::default() })
    }

    /// Sets the curve between the two rates. Default: [`Anneal::Cosine`].
    pub fn anneal(self, anneal: Anneal) -> Self {
        AnnealTo { anneal, ..self }
    }
}

impl<S: Schedule> Schedule for AnnealTo<S> {
    fn rate(&self, count: u64) -> f64 {
        let Some(since) = count.checked_sub(self.start) else { return self.schedule.rate(count) };
        let part = fraction(since, self.length);
        let part = match self.anneal {
            Anneal::Cosine => half_cosine(part),
            Anneal::Linear => part,
        };
        between(self.schedule.rate(self.start), self.rate, part)
    }
}
