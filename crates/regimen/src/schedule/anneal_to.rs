//! A schedule that leaves another for a rate of its own: the one of stochastic weight averaging.

use super::{Anneal, Schedule, between, checked_length, checked_rate, fraction, half_cosine};
use crate::BoxError;

/// Another schedule up to a start; from there on it goes from the rate there to a rate of its own,
/// and stays at it: with `p = min(t - start, length) / length`,
/// `schedule(start) + (rate - schedule(start)) * (1 - cos(pi * p)) / 2`, or with `p` itself if it is
/// linear.
///
/// PyTorch's `SWALR(swa_lr = rate, anneal_epochs = length)`, which TorchTNT steps in place of the
/// other from the end of the warm-up of its averages on.
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
    /// Leaves `schedule` after `start` counts, and is at `rate` `length` counts later.
    pub fn new(schedule: S, start: u64, length: u64, rate: f64) -> Result<Self, BoxError> {
        let length = checked_length("annealing schedule: the length", length)?;
        let rate = checked_rate("annealing schedule: the last rate", rate)?;
        Ok(AnnealTo { schedule, start, length, rate, anneal: Anneal::default() })
    }

    /// The curve between the two rates; [`Anneal::Cosine`] by default.
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
