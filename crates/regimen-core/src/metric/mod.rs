//! Metrics: typed keys, their values per epoch, and texts, images, histograms and sounds.

mod audio;
mod best;
mod histogram;
mod image;
mod improvement;
mod key;
mod media;
mod metrics;
pub(crate) mod reading;

pub use audio::Audio;
pub use best::Best;
pub use histogram::Histogram;
pub use image::Image;
pub use improvement::{Goal, Improvement};
pub use key::{Key, Reduction};
pub use media::Media;
pub use metrics::Metrics;
pub use reading::Reading;

use crate::BoxError;

/// One metric of one phase.
#[derive(Clone, Debug)]
pub struct Metric {
    key: Key,
    /// Of the values that were read.
    tally: Tally,
    /// The values logged after them. A look at the metric reads them, and they are summed in their order.
    waiting: Vec<Logged>,
    /// The tally, and the length of `waiting`, before `step`, the newest step in which the metric was logged.
    before: (Tally, usize),
    step: u64,
    epoch: Option<f64>,
    /// The number of that epoch, from 1.
    ended_in: u64,
}

/// A logged value, which may still be on the device.
#[derive(Clone, Debug)]
struct Logged {
    value: Reading,
    weight: f64,
    at: u64,
}

/// The values of the epoch under way as one.
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
        self.tally().last
    }

    /// The step of the phase, from 1, in which the last value was logged, its end included. A value that was
    /// logged between two steps belongs to the later one.
    pub fn logged_at(&self) -> u64 {
        self.waiting.last().map_or(self.tally.logged_at, |logged| logged.at)
    }

    /// The value over the epoch under way. Returns `None` if nothing was logged in it.
    pub fn so_far(&self) -> Option<f64> {
        let Tally { total, weight, .. } = self.tally();
        (weight > 0.0).then(|| if self.key.reduction() == Reduction::Mean { total / weight } else { total })
    }

    /// The sum of the weights of the epoch under way.
    pub fn weight(&self) -> f64 {
        self.waiting.iter().fold(self.tally.weight, |sum, logged| sum + logged.weight)
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

    /// The value logged last, if that was in the `n`-th step of the phase, from 1, and in the epoch under
    /// way. Returns `None` otherwise, so an old value is never taken for a new one. Values of weight zero do
    /// not count.
    pub fn in_step(&self, n: u64) -> Option<f64> {
        (self.logged_at() == n && self.weight() > 0.0).then(|| self.last_value())
    }

    /// The same as [`in_step`](Metric::in_step) without a wait for the device: a value that may not be read yet.
    pub fn reading_in_step(&self, n: u64) -> Option<Reading> {
        let newest = || self.waiting.last().map_or(self.tally.last.into(), |logged| logged.value.clone());
        (self.logged_at() == n && self.weight() > 0.0).then(newest)
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
        let (waiting, before) = (Vec::new(), (tally, 0));
        Metric { key, tally, waiting, before, step: 0, epoch: None, ended_in: 0 }
    }

    /// The tally with the waiting values, which are read.
    fn read(&self) -> Result<Tally, BoxError> {
        let mut tally = self.tally;
        for logged in &self.waiting {
            tally.add(self.key.reduction(), logged.value.get()?, logged.weight, logged.at);
        }
        Ok(tally)
    }

    /// The same, with NaN for a value that cannot be read. The unit that logged it reports the error.
    fn tally(&self) -> Tally {
        let (weight, logged_at) = (self.weight(), self.logged_at());
        self.read().unwrap_or(Tally { total: f64::NAN, weight, last: f64::NAN, logged_at })
    }

    /// Sums up the waiting values: all of them, or the first that are known.
    fn settle(&mut self, only_known: bool) {
        let known = self.waiting.iter().take_while(|logged| logged.value.known().is_some()).count();
        let count = if only_known { known } else { self.waiting.len() };
        for Logged { value, weight, at } in self.waiting.drain(..count) {
            self.tally.add(self.key.reduction(), value.get().unwrap_or(f64::NAN), weight, at);
        }
    }

    /// Adds a value with a weight above 0.
    fn log(&mut self, value: Reading, weight: f64, at: u64) {
        match value.known() {
            Some(value) if self.waiting.is_empty() => {
                self.tally.add(self.key.reduction(), value, weight, at);
            }
            _ => self.waiting.push(Logged { value, weight, at }),
        }
    }

    fn end_epoch(&mut self, n: u64) {
        if let Some(value) = self.so_far() {
            (self.epoch, self.ended_in) = (Some(value), n);
        }
    }
}

impl Tally {
    fn add(&mut self, reduction: Reduction, value: f64, weight: f64, at: u64) {
        let first = self.weight == 0.0;
        match reduction {
            Reduction::Mean | Reduction::Sum => self.total += value * weight,
            Reduction::Min if !first => self.total = smaller(self.total, value),
            Reduction::Max if !first => self.total = -smaller(-self.total, -value),
            Reduction::Min | Reduction::Max | Reduction::Last => self.total = value,
        }
        (self.last, self.logged_at) = (value, at);
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
