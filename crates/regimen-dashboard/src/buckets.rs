//! The values of a metric in a bounded number of buckets.

use std::collections::VecDeque;

use crate::series::Point;

/// The finite values of a metric in the order of their arrival: the newest 10,000 as they are, and all before them in at
/// most 2,048 buckets.
///
/// A bucket holds as many values as the stride says. If all buckets are full, each two become one and the stride doubles.
/// The smallest and the largest value of a bucket stay, so neither the beginning nor a spike is lost.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    stride: u64,
    old: Vec<Bucket>,
    newest: VecDeque<Point>,
}

/// Values that follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) least: Point,
    pub(crate) most: Point,
    /// The step of the last value, and the mean of all.
    pub(crate) mean: Point,
    /// Number of values.
    pub(crate) count: u64,
}

/// As many as the longest range of a [`View`](crate::view::View) has steps.
const NEWEST: usize = 10_000;
const MOST_BUCKETS: usize = 2048;

impl Buckets {
    /// Adds a finite value.
    pub(crate) fn push(&mut self, point: Point) {
        self.newest.push_back(point);
        if NEWEST < self.newest.len()
            && let Some(point) = self.newest.pop_front()
        {
            self.push_old(Bucket::of(point));
        }
    }

    /// The buckets in the order of their values. Each of the newest values is one.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Bucket> {
        self.old.iter().copied().chain(self.newest.iter().copied().map(Bucket::of))
    }

    fn push_old(&mut self, value: Bucket) {
        match self.old.last_mut() {
            Some(last) if last.count < self.stride => last.add(&value),
            _ => {
                if self.old.len() == MOST_BUCKETS {
                    self.halve();
                }
                self.old.push(value);
            }
        }
    }

    fn halve(&mut self) {
        let pairs = self.old.chunks(2).filter_map(|pair| {
            let (first, rest) = pair.split_first()?;
            let mut sum = *first;
            rest.iter().for_each(|bucket| sum.add(bucket));
            Some(sum)
        });
        self.old = pairs.collect();
        self.stride = self.stride.saturating_mul(2);
    }
}

impl Default for Buckets {
    fn default() -> Self {
        Buckets { stride: 1, old: Vec::new(), newest: VecDeque::new() }
    }
}

impl Bucket {
    fn of(point: Point) -> Self {
        Bucket { least: point, most: point, mean: point, count: 1 }
    }

    fn add(&mut self, later: &Bucket) {
        if later.least.1 < self.least.1 {
            self.least = later.least;
        }
        if self.most.1 < later.most.1 {
            self.most = later.most;
        }
        self.count += later.count;
        let share = later.count as f64 / self.count as f64;
        // No sum of large numbers is infinite this way.
        self.mean = (later.mean.0, self.mean.1 * (1.0 - share) + later.mean.1 * share);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stride of a million values is 512: it doubles while 990,000 / stride is more than the buckets.
    #[test]
    fn the_buckets_of_a_million_values_have_each_value_once() {
        let mut buckets = Buckets::default();
        (1..=1_000_000).for_each(|step| buckets.push((f64::from(step), f64::from(step))));
        assert_eq!(buckets.stride, 512);
        let mut next = 1;
        for bucket in buckets.iter() {
            let last = next + bucket.count - 1;
            let (first, end) = (next as f64, last as f64);
            assert_eq!((bucket.least, bucket.most), ((first, first), (end, end)));
            let middle = (first + end) / 2.0;
            assert!((bucket.mean.1 - middle).abs() < 1e-6 && bucket.mean.0 == end, "{bucket:?}");
            next = last + 1;
        }
        assert_eq!(next, 1_000_001);
        assert!(buckets.iter().count() <= NEWEST + MOST_BUCKETS);
    }
}
