//! A quantile of numbers: exact of few, within one percent of many.

use std::collections::BTreeMap;

use super::Measure;
use super::measure::counted_by_each_rank;
use super::numbers::finite;
use crate::BoxError;
use crate::saved::{Array, MAX_COUNT, StateDict, Stateful};

/// A quantile of numbers, such as the median.
///
/// It is exact as long as every value is kept: up to 65,536, or another [number](Quantile::exact_up_to). Of more it
/// keeps the number of values in each of at most 146,000 buckets, whose bounds grow by 2 %, and each value that the
/// quantile is computed of is then wrong by at most 1 % of itself (DDSketch: Masson, Rim and Lee, VLDB 2019). Either
/// way it depends on the values alone, and not on their order or parts.
///
/// Between two values it is interpolated, as `numpy.quantile` does by default.
///
/// ```
/// use regimen::metric::{Measure, Quantile};
///
/// let mut median = Quantile::new(0.5)?;
/// median.update(&[3.0, 1.0, 2.0, 10.0])?;
/// assert_eq!(median.compute(), Some(2.5));
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Quantile {
    q: f64,
    exact_up_to: usize,
    /// In the order they came; empty if there are buckets.
    values: Vec<f64>,
    /// The number of values in each bucket.
    buckets: BTreeMap<i32, u64>,
}

impl Quantile {
    /// The quantile `q`, from 0, the minimum, to 1, the maximum. Another number is an error.
    pub fn new(q: f64) -> Result<Self, BoxError> {
        if !(0.0..=1.0).contains(&q) {
            return Err(format!("a quantile is from 0 to 1, not {q}").into());
        }
        Ok(Quantile { q, exact_up_to: 65_536, values: Vec::new(), buckets: BTreeMap::new() })
    }

    /// Is exact as long as there are at most `values`, which take 8 bytes each.
    pub fn exact_up_to(mut self, values: usize) -> Self {
        self.exact_up_to = values;
        self
    }

    /// Whether the value is exact.
    pub fn is_exact(&self) -> bool {
        self.buckets.is_empty()
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        self.values.len() as u64 + self.buckets.values().sum::<u64>()
    }

    /// Counts numbers of type `f32` or `f64`, as [`update`](Measure::update) does.
    pub fn update_values<T: Copy + Into<f64>>(&mut self, values: &[T]) -> Result<(), BoxError> {
        self.values.extend(finite("value", values)?);
        self.fill_buckets();
        Ok(())
    }

    /// Puts the values into buckets if there are too many to be kept.
    fn fill_buckets(&mut self) {
        if !self.buckets.is_empty() || self.values.len() > self.exact_up_to {
            for value in self.values.drain(..) {
                *self.buckets.entry(bucket(value)).or_default() += 1;
            }
        }
    }
}

/// The ratio of a bucket's bounds, whose middle is within 1 % of both.
const RATIO: f64 = 1.01 / 0.99;
/// Above any distance of a bucket from that of 1.
const ONE: i32 = 40_000;

/// The bucket of a value: 0 for 0, and the further from it the larger the value.
fn bucket(value: f64) -> i32 {
    if value == 0.0 {
        return 0;
    }
    let above_one = (value.abs().ln() / RATIO.ln()).ceil() as i32;
    if value > 0.0 { ONE + above_one } else { -(ONE + above_one) }
}

/// The middle of a bucket.
fn middle(bucket: i32) -> f64 {
    let upper = (f64::from(bucket.abs() - ONE) * RATIO.ln()).exp();
    match bucket {
        0 => 0.0,
        // The last bound is out of range.
        _ => f64::from(bucket.signum()) * (0.99 * upper).min(f64::MAX),
    }
}

/// Of values. One that is infinite or NaN is an error.
impl Measure for Quantile {
    type Batch<'b> = &'b [f64];

    /// The quantile. Returns `None` before a value is counted.
    type Value = Option<f64>;

    fn update(&mut self, values: &[f64]) -> Result<(), BoxError> {
        self.update_values(values)
    }

    fn compute(&self) -> Option<f64> {
        let last = self.count().checked_sub(1)?;
        let place = self.q * last as f64;
        let (below, above) = (place.floor() as u64, place.ceil() as u64);
        let mut sorted = self.values.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |rank: u64| match sorted.get(rank as usize) {
            Some(&value) => Some(value),
            None => {
                let mut before = 0;
                let mut buckets = self.buckets.iter();
                let bucket = buckets.find(|(_, count)| {
                    before += *count;
                    rank < before
                });
                bucket.map(|(&bucket, _)| middle(bucket))
            }
        };
        let (below, above) = (at(below)?, at(above)?);
        // Equal values stay as they are, and the difference of two may overflow.
        let share = place.fract();
        Some(if below == above { below } else { below * (1.0 - share) + above * share })
    }

    fn merge(&mut self, other: &Quantile) -> Result<(), BoxError> {
        if (self.q, self.exact_up_to) != (other.q, other.exact_up_to) {
            return Err("quantiles with other settings cannot be merged".into());
        }
        self.values.extend(&other.values);
        for (&bucket, count) in &other.buckets {
            *self.buckets.entry(bucket).or_default() += count;
        }
        self.fill_buckets();
        Ok(())
    }

    fn reset(&mut self) {
        self.values.clear();
        self.buckets.clear();
    }
}

/// The values, or the buckets with their counts; those of other settings are refused.
impl Stateful for Quantile {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let (buckets, counts): (Vec<i32>, Vec<u64>) = self.buckets.iter().unzip();
        let mut dict = StateDict::new();
        dict.insert("q", self.q)?;
        dict.insert("exact_up_to", self.exact_up_to as u64)?;
        dict.insert("values", Array::from_slice(&self.values))?;
        dict.insert("buckets", Array::from_slice(&buckets))?;
        dict.insert("counts", Array::from_slice(&counts))?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        if (dict.get::<f64>("q")?, dict.get::<u64>("exact_up_to")?) != (self.q, self.exact_up_to as u64) {
            return Err("the saved quantile has other settings".into());
        }
        let values: Vec<f64> = dict.array("values")?.to_vec()?;
        let buckets: Vec<i32> = dict.array("buckets")?.to_vec()?;
        let counts: Vec<u64> = dict.array("counts")?.to_vec()?;
        let total = counts.iter().try_fold(0_u64, |total, &count| total.checked_add(count));
        let is_bucket = |bucket: &i32| bucket.unsigned_abs() < 2 * ONE as u32;
        if buckets.len() != counts.len()
            || !buckets.iter().all(is_bucket)
            || total.is_none_or(|total| total > MAX_COUNT)
        {
            return Err("`buckets` or `counts` is damaged".into());
        }
        let buckets = buckets.into_iter().zip(counts).collect();
        let mut loaded = Quantile { values: Vec::new(), buckets, ..*self };
        loaded.update(&values)?;
        *self = loaded;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        let mut loaded = self.clone();
        loaded.load_state_dict(dict)
    }

    counted_by_each_rank!();
}
