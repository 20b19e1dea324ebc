//! The metrics of the same training with several seeds.

use std::borrow::Borrow;
use std::fmt;

use crate::BoxError;
use crate::error::WithCauses;
use crate::metric::{Key, Measure, Running};
use crate::text::Short;

/// The metrics of the same training with several [`Seeds`](super::Seeds). As text it is a table, with the seeds that
/// failed below:
///
/// ```text
/// metric      seeds       mean  deviation        min        max
/// eval/loss       2     0.2500    0.07071     0.2000     0.3000
/// seed 3 failed: no file `train.csv`
/// ```
#[derive(Debug)]
pub struct SeedResults {
    results: Vec<Trained>,
    metrics: Vec<SeedMetric>,
}

/// A seed, with its metrics or its error.
type Trained = (u64, Result<Vec<(Key, f64)>, BoxError>);

/// The values of one metric. Those that are infinite or NaN are counted apart, and are in none of its numbers.
#[derive(Clone, Debug)]
pub struct SeedMetric {
    key: Key,
    finite: Running,
    /// The seeds whose value is not finite, with it.
    not_finite: Vec<(u64, f64)>,
}

impl SeedResults {
    pub(super) fn new(results: Vec<Trained>) -> Self {
        let mut metrics: Vec<SeedMetric> = Vec::new();
        let trained = results.iter().filter_map(|(seed, trained)| Some((seed, trained.as_ref().ok()?)));
        for (seed, (key, value)) in
            trained.flat_map(|(seed, values)| values.iter().map(move |of| (*seed, of)))
        {
            match metrics.iter_mut().find(|metric| metric.key.name() == key.name()) {
                Some(metric) => metric.add(seed, *value),
                None => {
                    let mut metric =
                        SeedMetric { key: key.clone(), finite: Running::new(), not_finite: Vec::new() };
                    metric.add(seed, *value);
                    metrics.push(metric);
                }
            }
        }
        SeedResults { results, metrics }
    }

    /// The metrics or the error of each seed, in the order of the seeds.
    pub fn results(&self) -> &[Trained] {
        &self.results
    }

    /// The metrics, in the order in which they were first seen.
    pub fn metrics(&self) -> &[SeedMetric] {
        &self.metrics
    }

    /// The metric of `key`. Returns `None` if no seed has it.
    pub fn metric(&self, key: impl Borrow<Key>) -> Option<&SeedMetric> {
        self.metrics.iter().find(|metric| metric.key.name() == key.borrow().name())
    }
}

impl SeedMetric {
    fn add(&mut self, seed: u64, value: f64) {
        if self.finite.update(&[value]).is_err() {
            self.not_finite.push((seed, value));
        }
    }

    /// The key of the metric.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The number of seeds with a finite value.
    pub fn count(&self) -> u64 {
        self.finite.count()
    }

    /// The mean. Returns `None` without a finite value.
    pub fn mean(&self) -> Option<f64> {
        self.finite.compute()
    }

    /// The standard deviation, estimated from a sample: the root of the squared distances from the mean, divided by the
    /// count less 1. Returns `None` for fewer than 2 finite values.
    pub fn deviation(&self) -> Option<f64> {
        self.finite.sample_variance().map(f64::sqrt)
    }

    /// The smallest value. Returns `None` without a finite value.
    pub fn min(&self) -> Option<f64> {
        self.finite.min()
    }

    /// The largest value. Returns `None` without a finite value.
    pub fn max(&self) -> Option<f64> {
        self.finite.max()
    }

    /// The seeds whose value is infinite or NaN, with it.
    pub fn not_finite(&self) -> &[(u64, f64)] {
        &self.not_finite
    }
}

impl fmt::Display for SeedResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.metrics.iter().map(|metric| metric.key.name().chars().count());
        let width = names.max().unwrap_or(0).max("metric".len());
        write!(f, "{:width$} {:>6}", "metric", "seeds")?;
        ["mean", "deviation", "min", "max"].iter().try_for_each(|name| write!(f, " {name:>10}"))?;
        for metric in &self.metrics {
            write!(f, "\n{:width$} {:>6}", metric.key.name(), metric.count())?;
            for number in [metric.mean(), metric.deviation(), metric.min(), metric.max()] {
                let text = number.map_or_else(|| "-".to_owned(), |number| Short(number).to_string());
                write!(f, " {text:>10}")?;
            }
        }
        for metric in &self.metrics {
            for (seed, value) in &metric.not_finite {
                write!(f, "\n{} of seed {seed} is {value}, and left out", metric.key)?;
            }
        }
        for (seed, trained) in &self.results {
            if let Err(cause) = trained {
                write!(f, "\nseed {seed} failed: {}", WithCauses(&**cause))?;
            }
        }
        Ok(())
    }
}
