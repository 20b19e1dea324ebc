//! The values of one metric in a bounded number of buckets.

/// The values of one metric in the order of their steps, in at most [`Curve::MOST`] buckets.
///
/// A bucket holds as many values as [`stride`](Curve::stride) says. When all buckets are full, each two become one and the
/// stride doubles. The smallest and the largest value of a bucket stay, so no spike is lost.
///
/// A value whose step is before the last one starts a new part: values from that step on are dropped, as a run that was
/// restored makes those steps again. Of the bucket around that step, the first, smallest and largest value stay if they are
/// of earlier steps.
///
/// ```
/// use regimen_report::{Curve, CurveKey};
///
/// let mut curve = Curve::new(CurveKey { name: "train/loss".into(), phase: "train".into(), per_epoch: false });
/// (0..5000).for_each(|step| curve.push(step, if step == 77 { 9.0 } else { 1.0 }));
/// assert_eq!((curve.stride(), curve.points()), (8, 5000));
/// assert_eq!(curve.buckets()[9].max, 9.0);
/// ```
#[derive(Clone, Debug)]
pub struct Curve {
    key: CurveKey,
    stride: u64,
    buckets: Vec<Bucket>,
    last: Option<(u64, f64)>,
    min: Option<(u64, f64)>,
    max: Option<(u64, f64)>,
    dropped: u64,
    lost: u64,
}

/// The identity of a curve. Curves are in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CurveKey {
    /// The name of the metric.
    pub name: String,
    /// The phase it was logged in: `train`, `eval` or `predict`.
    pub phase: String,
    /// Whether its values are over epochs, and not of single steps.
    pub per_epoch: bool,
}

/// Values that follow each other.
///
/// `first`, `min`, `max`, `last` and `sum` are of the finite values alone. Without one, they are NaN and the sum is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The step of the first value.
    pub step: u64,
    /// The step of the last value.
    pub end: u64,
    /// Number of values.
    pub count: u64,
    /// The first finite value.
    pub first: f64,
    /// The smallest finite value.
    pub min: f64,
    /// The first step with `min`.
    pub min_step: u64,
    /// The largest finite value.
    pub max: f64,
    /// The first step with `max`.
    pub max_step: u64,
    /// The last finite value.
    pub last: f64,
    /// The sum of the finite values.
    pub sum: f64,
    /// Number of NaN.
    pub nan: u64,
    /// Number of infinities, of both signs.
    pub infinite: u64,
}

impl Curve {
    /// The largest number of buckets. A curve with more values has at least half as many.
    pub const MOST: usize = 1024;

    /// An empty curve.
    pub fn new(key: CurveKey) -> Self {
        Curve { key, stride: 1, buckets: Vec::new(), last: None, min: None, max: None, dropped: 0, lost: 0 }
    }

    /// Its identity.
    pub fn key(&self) -> &CurveKey {
        &self.key
    }

    /// The largest number of values per bucket: a power of two.
    pub fn stride(&self) -> u64 {
        self.stride
    }

    /// Its buckets in the order of their steps.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// Number of values.
    pub fn points(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }

    /// The last value and its step, finite or not.
    pub fn last(&self) -> Option<(u64, f64)> {
        self.last
    }

    /// The smallest finite value and its step.
    pub fn min(&self) -> Option<(u64, f64)> {
        self.min
    }

    /// The largest finite value and its step.
    pub fn max(&self) -> Option<(u64, f64)> {
        self.max
    }

    /// Number of values that were dropped because their steps, or those of their bucket, were made again.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The largest possible number of dropped values whose steps were not made again: those at the beginning of a bucket.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Adds the value of `step`.
    pub fn push(&mut self, step: u64, value: f64) {
        if self.last.is_some_and(|(last, _)| step < last) {
            self.drop_from(step);
        }
        self.last = Some((step, value));
        if value.is_finite() {
            if self.min.is_none_or(|(_, min)| value < min) {
                self.min = Some((step, value));
            }
            if self.max.is_none_or(|(_, max)| max < value) {
                self.max = Some((step, value));
            }
        }
        let bucket = Bucket::of(step, value);
        match self.buckets.last_mut() {
            Some(last) if last.count < self.stride => last.add(&bucket),
            _ => {
                if self.buckets.len() == Self::MOST {
                    self.halve();
                }
                self.buckets.push(bucket);
            }
        }
    }

    fn halve(&mut self) {
        let pairs = self.buckets.chunks(2).filter_map(|pair| {
            let (first, rest) = pair.split_first()?;
            let mut sum = *first;
            rest.iter().for_each(|bucket| sum.add(bucket));
            Some(sum)
        });
        self.buckets = pairs.collect();
        self.stride = self.stride.saturating_mul(2);
    }

    /// Drops the values of `step` and later. Of the bucket around it, only the values stay whose steps are known.
    fn drop_from(&mut self, step: u64) {
        while let Some(bucket) = self.buckets.pop_if(|bucket| step <= bucket.end) {
            self.dropped += bucket.count;
            if bucket.step < step {
                let kept = bucket.before(step);
                let count = kept.map_or(0, |kept| kept.count);
                self.dropped -= count;
                // Its last value is of a later step.
                self.lost += bucket.count - 1 - count;
                self.buckets.extend(kept);
                break;
            }
        }
        let is_later = |point: Option<(u64, f64)>| point.is_some_and(|(at, _)| step <= at);
        let finite = || self.buckets.iter().filter(|bucket| bucket.has_finite());
        let by = |a: &(u64, f64), b: &(u64, f64)| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0));
        if is_later(self.min) {
            self.min = finite().map(|bucket| (bucket.min_step, bucket.min)).min_by(by);
        }
        if is_later(self.max) {
            let by = |a: &(u64, f64), b: &(u64, f64)| by(&(a.0, -a.1), &(b.0, -b.1));
            self.max = finite().map(|bucket| (bucket.max_step, bucket.max)).min_by(by);
        }
    }
}

impl Bucket {
    fn of(step: u64, value: f64) -> Self {
        let (finite, nan) = (value.is_finite(), value.is_nan());
        let number = if finite { value } else { f64::NAN };
        Bucket {
            step,
            end: step,
            count: 1,
            first: number,
            min: number,
            min_step: step,
            max: number,
            max_step: step,
            last: number,
            sum: if finite { value } else { 0.0 },
            nan: u64::from(nan),
            infinite: u64::from(!finite && !nan),
        }
    }

    /// Whether one of its values is finite.
    pub fn has_finite(&self) -> bool {
        self.nan + self.infinite < self.count
    }

    /// The mean of the finite values; NaN if there are none.
    pub fn mean(&self) -> f64 {
        // The sum of large numbers may be infinite. The middle is then as good.
        let mean = self.sum / (self.count - self.nan - self.infinite) as f64;
        if mean.is_infinite() { f64::midpoint(self.min, self.max) } else { mean }
    }

    /// The values before `step` of which the step is known: the first, the smallest and the largest.
    fn before(&self, step: u64) -> Option<Bucket> {
        // With others among them, the first finite one may be of a later step.
        let first = (self.nan + self.infinite == 0).then_some((self.step, self.first));
        let edges = self.has_finite().then_some([(self.min_step, self.min), (self.max_step, self.max)]);
        let mut known: Vec<(u64, f64)> = first.into_iter().chain(edges.into_iter().flatten()).collect();
        known.retain(|(at, _)| *at < step);
        known.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        known.dedup();
        let mut kept = known.into_iter().map(|(at, value)| Bucket::of(at, value));
        let mut bucket = kept.next()?;
        kept.for_each(|later| bucket.add(&later));
        Some(bucket)
    }

    fn add(&mut self, later: &Bucket) {
        let had_finite = self.has_finite();
        self.end = later.end;
        self.count += later.count;
        self.nan += later.nan;
        self.infinite += later.infinite;
        if later.has_finite() {
            if !had_finite {
                self.first = later.first;
            }
            if !had_finite || later.min < self.min {
                (self.min, self.min_step) = (later.min, later.min_step);
            }
            if !had_finite || self.max < later.max {
                (self.max, self.max_step) = (later.max, later.max_step);
            }
            self.last = later.last;
            self.sum += later.sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(values: impl IntoIterator<Item = (u64, f64)>) -> Curve {
        let mut curve = Curve::new(CurveKey { name: "a".into(), phase: "train".into(), per_epoch: false });
        values.into_iter().for_each(|(step, value)| curve.push(step, value));
        curve
    }

    #[test]
    fn buckets_are_those_of_a_second_computation() {
        // Twelve bits of a linear congruence: no order that a mistake could follow.
        let value = |n: u64| (n.wrapping_mul(6_364_136_223_846_793_005) >> 52) as f64;
        let curve = curve((0..100_000).map(|n| (n * 10, value(n))));
        assert_eq!((curve.stride(), curve.points(), curve.buckets().len()), (128, 100_000, 782));
        for (n, bucket) in (0_u64..).zip(curve.buckets()) {
            let values: Vec<f64> = (n * 128..(n * 128 + 128).min(100_000)).map(value).collect();
            let edge = |of: fn(f64, f64) -> f64| values.iter().copied().reduce(of).unwrap();
            let at = |edge| (n * 128 + values.iter().position(|value| *value == edge).unwrap() as u64) * 10;
            let expected = Bucket {
                step: n * 1280,
                end: (n * 128 + values.len() as u64 - 1) * 10,
                count: values.len() as u64,
                first: values[0],
                min: edge(f64::min),
                min_step: at(edge(f64::min)),
                max: edge(f64::max),
                max_step: at(edge(f64::max)),
                last: values[values.len() - 1],
                sum: values.iter().sum(),
                nan: 0,
                infinite: 0,
            };
            assert_eq!(*bucket, expected);
        }
    }

    #[test]
    fn values_that_are_not_finite_are_counted_and_leave_the_numbers_alone() {
        let mut values: Vec<(u64, f64)> = (0..2048).map(|n| (n, 2.0)).collect();
        (values[0].1, values[2].1, values[3].1) = (f64::NAN, f64::INFINITY, f64::NEG_INFINITY);
        let curve = curve(values);
        let [first, second, ..] = curve.buckets() else { panic!("two buckets") };
        assert_eq!((first.nan, first.infinite, first.first, first.min, first.mean()), (1, 0, 2.0, 2.0, 2.0));
        assert_eq!((second.nan, second.infinite, second.has_finite()), (0, 2, false));
        assert!(
            [second.first, second.min, second.max, second.last, second.mean()].iter().all(|n| n.is_nan())
        );
        assert_eq!((curve.min(), curve.max()), (Some((1, 2.0)), Some((1, 2.0))));
    }

    #[test]
    fn a_run_that_made_steps_again_has_the_later_values() {
        let mut curve = curve((0..100).map(|n| (n, if n == 80 { -5.0 } else { 1.0 })));
        (60..90).for_each(|n| curve.push(n, 3.0));
        assert_eq!((curve.points(), curve.dropped(), curve.last()), (90, 40, Some((89, 3.0))));
        assert_eq!((curve.min(), curve.max()), (Some((0, 1.0)), Some((60, 3.0))));
        let steps: Vec<u64> = curve.buckets().iter().map(|bucket| bucket.step).collect();
        assert_eq!(steps, (0..90).collect::<Vec<_>>());
    }

    #[test]
    fn a_cut_through_a_bucket_keeps_its_known_values_and_the_best_one() {
        // Four values a bucket.
        let value = |n| match n {
            1230 => -7.0,
            2050 => 9.0,
            2500 => -50.0,
            _ => (n % 4) as f64,
        };
        let mut curve = curve((0..4000).map(|n| (n, value(n))));
        assert_eq!((curve.stride(), curve.min(), curve.max()), (4, Some((2500, -50.0)), Some((2050, 9.0))));
        // The bucket from 2048 on has the values 0, 1, 9 and 3.
        curve.push(2051, 1.0);
        assert_eq!((curve.min(), curve.max()), (Some((1230, -7.0)), Some((2050, 9.0))));
        let [.., cut] = curve.buckets() else { panic!("buckets") };
        let (steps, values) = ((cut.step, cut.end, cut.count), (cut.first, cut.min, cut.max, cut.last));
        assert_eq!((steps, values), ((2048, 2051, 3), (0.0, 0.0, 9.0, 1.0)));
        // Of 2049, only the count of its bucket is known.
        assert_eq!((curve.points(), curve.dropped(), curve.lost()), (2051, 1950, 1));
    }

    #[test]
    fn two_values_of_one_step_are_both_kept() {
        assert_eq!(curve([(5, 1.0), (5, 2.0)]).points(), 2);
    }

    #[test]
    fn the_mean_of_numbers_whose_sum_is_too_large_is_finite() {
        let curve = curve((0..2048).map(|n| (n, f64::MAX)));
        assert_eq!(curve.buckets()[0].mean(), f64::MAX);
    }
}
