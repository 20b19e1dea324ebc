//! Metrics: typed keys, and what was logged under them by epoch.

use std::borrow::Cow;
use std::fmt;

use crate::{Array, BoxError, StateDict, Stateful};

/// The name of a metric and how its values within an epoch become one.
///
/// Declare it once and use it everywhere a metric is logged, watched or shown:
///
/// ```
/// use regimen_core::Key;
/// const EVAL_LOSS: Key = Key::mean("eval/loss");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    name: Cow<'static, str>,
    reduction: Reduction,
}

/// How the values logged within an epoch become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// The mean, weighted by the weights given.
    Mean,
    /// The sum of value times weight.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The newest.
    Last,
}

impl Key {
    /// The weighted mean over the epoch.
    pub const fn mean(name: &'static str) -> Self {
        Key { name: Cow::Borrowed(name), reduction: Reduction::Mean }
    }

    /// The sum over the epoch of value times weight.
    pub const fn sum(name: &'static str) -> Self {
        Key { name: Cow::Borrowed(name), reduction: Reduction::Sum }
    }

    /// The smallest value of the epoch.
    pub const fn min(name: &'static str) -> Self {
        Key { name: Cow::Borrowed(name), reduction: Reduction::Min }
    }

    /// The largest value of the epoch.
    pub const fn max(name: &'static str) -> Self {
        Key { name: Cow::Borrowed(name), reduction: Reduction::Max }
    }

    /// The newest value of the epoch.
    pub const fn last(name: &'static str) -> Self {
        Key { name: Cow::Borrowed(name), reduction: Reduction::Last }
    }

    /// A key whose name is made at run time: one a class, one a layer.
    pub fn named(name: impl Into<String>, reduction: Reduction) -> Self {
        Key { name: Cow::Owned(name.into()), reduction }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How values become one.
    pub fn reduction(&self) -> Reduction {
        self.reduction
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The metrics of one phase, in the order in which they were first logged.
///
/// Each has up to three values: the one logged [last](Metric::last), the one over the epoch
/// [so far](Metric::so_far), and the one over the epoch that [ended](Metric::epoch) last.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    list: Vec<Metric>,
}

/// One metric of one phase.
#[derive(Clone, Debug)]
pub struct Metric {
    key: Key,
    /// Sum of value times weight, or the smallest, largest or newest value.
    total: f64,
    weight: f64,
    last: f64,
    logged_at: u64,
    epoch: Option<f64>,
}

impl Metric {
    /// The key it is logged under.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The value logged last.
    pub fn last(&self) -> f64 {
        self.last
    }

    /// How many steps of the phase were completed when the last value was logged.
    pub fn logged_at(&self) -> u64 {
        self.logged_at
    }

    /// The value over the epoch under way; none where nothing was logged in it, or where all
    /// weights of a mean were zero.
    pub fn so_far(&self) -> Option<f64> {
        match self.key.reduction {
            Reduction::Mean => (self.weight > 0.0).then(|| self.total / self.weight),
            _ => (self.weight > 0.0).then_some(self.total),
        }
    }

    /// The sum of the weights of the epoch under way.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// The value over the newest epoch that ended and in which it was logged.
    pub fn epoch(&self) -> Option<f64> {
        self.epoch
    }

    fn add(&mut self, value: f64, weight: f64, step: u64) {
        (self.last, self.logged_at) = (value, step);
        let first = self.weight == 0.0;
        match self.key.reduction {
            Reduction::Mean | Reduction::Sum => self.total += value * weight,
            Reduction::Min if !first => self.total = smaller(self.total, value),
            Reduction::Max if !first => self.total = -smaller(-self.total, -value),
            Reduction::Min | Reduction::Max | Reduction::Last => self.total = value,
        }
        self.weight += weight;
    }
}

/// The smaller number; NaN where either is NaN, so that a bad value cannot hide.
fn smaller(a: f64, b: f64) -> f64 {
    if a.is_nan() || a <= b { a } else { b }
}

impl Metrics {
    /// Every metric, in the order in which they were first logged.
    pub fn iter(&self) -> impl Iterator<Item = &Metric> {
        self.list.iter()
    }

    /// The metric of `key`; none where it was never logged in this phase.
    pub fn get(&self, key: &Key) -> Option<&Metric> {
        self.list.iter().find(|metric| metric.key.name == key.name)
    }

    pub(crate) fn log(&mut self, key: Key, value: f64, weight: f64, step: u64) {
        match self.list.iter_mut().find(|metric| metric.key.name == key.name) {
            Some(metric) => metric.add(value, weight, step),
            None => {
                let mut metric =
                    Metric { key, total: 0.0, weight: 0.0, last: value, logged_at: step, epoch: None };
                metric.add(value, weight, step);
                self.list.push(metric);
            }
        }
    }

    /// Makes the values so far those of the epoch that ended, and begins anew. Returns the values.
    pub(crate) fn end_epoch(&mut self) -> Vec<(Key, f64)> {
        let mut ended = Vec::new();
        for metric in &mut self.list {
            if let Some(value) = metric.so_far() {
                metric.epoch = Some(value);
                ended.push((metric.key.clone(), value));
            }
            (metric.total, metric.weight) = (0.0, 0.0);
        }
        ended
    }

    /// Adds what another rank logged in the same epoch: means by their weights, exactly as if all
    /// values had been logged here. A metric that only `other` has is appended.
    pub fn merge(&mut self, other: &Metrics) {
        for theirs in other.list.iter().filter(|metric| metric.weight > 0.0) {
            match self.list.iter_mut().find(|metric| metric.key.name == theirs.key.name) {
                None => self.list.push(theirs.clone()),
                Some(ours) => {
                    let first = ours.weight == 0.0;
                    match ours.key.reduction {
                        Reduction::Mean | Reduction::Sum => ours.total += theirs.total,
                        Reduction::Min if !first => ours.total = smaller(ours.total, theirs.total),
                        Reduction::Max if !first => ours.total = -smaller(-ours.total, -theirs.total),
                        _ => ours.total = theirs.total,
                    }
                    ours.weight += theirs.weight;
                }
            }
        }
    }
}

/// In flight too: a metric restored in mid-epoch ends with the same value, bit for bit.
impl Stateful for Metrics {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        let mut names = String::new();
        let mut numbers = Vec::new();
        for metric in &self.list {
            names.push_str(&metric.key.name);
            names.push('\n');
            numbers.extend([metric.key.reduction as u8 as f64, metric.total, metric.weight, metric.last]);
            numbers.extend([metric.epoch.is_some() as u8 as f64, metric.epoch.unwrap_or(0.0)]);
        }
        dict.insert("names", Array::from_text(&names))?;
        dict.insert("values", Array::from_slice(&numbers))?;
        let logged_at: Vec<u64> = self.list.iter().map(|metric| metric.logged_at).collect();
        dict.insert("logged_at", Array::from_slice(&logged_at))?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        const REDUCTIONS: [Reduction; 5] =
            [Reduction::Mean, Reduction::Sum, Reduction::Min, Reduction::Max, Reduction::Last];
        let names = dict.array("names")?.to_text()?;
        let values = dict.array("values")?.to_vec::<f64>()?;
        let logged_at = dict.array("logged_at")?.to_vec::<u64>()?;
        let (rows, rest) = values.as_chunks::<6>();
        if !rest.is_empty() || rows.len() != logged_at.len() || rows.len() != names.lines().count() {
            return Err("metrics: as many names, values and steps are needed".into());
        }
        let mut list = Vec::new();
        for ((name, row), &logged_at) in names.lines().zip(rows).zip(&logged_at) {
            let &[reduction, total, weight, last, ended, epoch] = row;
            let reduction = REDUCTIONS.get(reduction as usize);
            let reduction = *reduction.ok_or_else(|| format!("metric `{name}`: unknown reduction"))?;
            let key = Key::named(name, reduction);
            list.push(Metric { key, total, weight, last, logged_at, epoch: (ended != 0.0).then_some(epoch) });
        }
        self.list = list;
        Ok(())
    }
}
