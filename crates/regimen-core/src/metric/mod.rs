//! Metrics: typed keys, and their values per epoch.

mod best;
mod improvement;
mod key;
mod metrics;

pub use best::Best;
pub use improvement::{Goal, Improvement};
pub use key::{Key, Reduction};
pub use metrics::Metrics;

/// One metric of one phase.
#[derive(Clone, Debug)]
pub struct Metric {
    key: Key,
    tally: Tally,
    /// The tally before `step`, the newest step in which the metric was logged.
    before: Tally,
    step: u64,
    epoch: Option<f64>,
    /// The number of that epoch, from 1.
    ended_in: u64,
}

/// The values logged in the epoch under way.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Sum of value times weight, or the smallest, largest or newest value.
    total: f64,
    weight: f64,
    last: f64,
    logged_at: u64,
}

impl Metric {
    /// The key it is logged under.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The value logged last. NaN if each had the weight zero.
    pub fn last_value(&self) -> f64 {
        self.tally.last
    }

    /// Completed steps of the phase when the last value was logged.
    pub fn logged_at(&self) -> u64 {
        self.tally.logged_at
    }

    /// The value over the epoch under way. Returns `None` if nothing was logged in it.
    pub fn so_far(&self) -> Option<f64> {
        let Tally { total, weight, .. } = self.tally;
        (weight > 0.0).then(|| if self.key.reduction() == Reduction::Mean { total / weight } else { total })
    }

    /// The sum of the weights of the epoch under way.
    pub fn weight(&self) -> f64 {
        self.tally.weight
    }

    /// The value over the newest ended epoch in which it was logged. Returns `None` if there is none.
    pub fn epoch_value(&self) -> Option<f64> {
        self.epoch
    }

    /// The value over the `n`-th epoch of the phase, from 1. Returns `None` if that is not the newest
    /// in which it was logged, so an old value is never taken for a new one.
    pub fn in_epoch(&self, n: u64) -> Option<f64> {
        self.epoch.filter(|_| self.ended_in == n)
    }

    /// The value logged last, if that was in the `n`-th step of the phase, from 1. Returns `None`
    /// otherwise, so an old value is never taken for a new one.
    pub fn in_step(&self, n: u64) -> Option<f64> {
        // A step logs before it is counted.
        let in_step = (n.saturating_sub(1)..=n).contains(&self.tally.logged_at);
        (in_step && self.tally.weight > 0.0).then_some(self.tally.last)
    }

    /// Refuses a key of the same name that means another metric.
    pub(crate) fn check(&self, key: &Key) -> Result<(), String> {
        if self.key.reduction() == key.reduction() {
            return Ok(());
        }
        Err(format!(
            "two keys are named `{}`, one of {:?} and one of {:?}; give them different names",
            key.name(),
            self.key.reduction(),
            key.reduction()
        ))
    }

    fn new(key: Key) -> Self {
        let tally = Tally { last: f64::NAN, ..Tally::default() };
        Metric { key, tally, before: tally, step: 0, epoch: None, ended_in: 0 }
    }

    fn end_epoch(&mut self, n: u64) {
        if let Some(value) = self.so_far() {
            (self.epoch, self.ended_in) = (Some(value), n);
        }
    }
}

impl Tally {
    fn add(&mut self, reduction: Reduction, value: f64, weight: f64) {
        let first = self.weight == 0.0;
        match reduction {
            Reduction::Mean | Reduction::Sum => self.total += value * weight,
            Reduction::Min if !first => self.total = smaller(self.total, value),
            Reduction::Max if !first => self.total = -smaller(-self.total, -value),
            Reduction::Min | Reduction::Max | Reduction::Last => self.total = value,
        }
        self.weight += weight;
    }

    /// Adds what another tally of the same epoch holds, except for its last value.
    fn merge(&mut self, reduction: Reduction, other: &Tally) {
        let first = self.weight == 0.0;
        match reduction {
            Reduction::Mean | Reduction::Sum => self.total += other.total,
            Reduction::Min if !first => self.total = smaller(self.total, other.total),
            Reduction::Max if !first => self.total = -smaller(-self.total, -other.total),
            _ => self.total = other.total,
        }
        self.weight += other.weight;
    }
}

/// The smaller number; NaN if either is NaN, so that a bad value cannot hide.
fn smaller(a: f64, b: f64) -> f64 {
    if a.is_nan() || a <= b { a } else { b }
}
