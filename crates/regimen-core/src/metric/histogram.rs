//! The distribution of many numbers.

/// The distribution of many numbers, in buckets of equal width between the smallest and the largest.
///
/// Numbers that are not finite have no bucket and are [counted apart](Histogram::not_finite).
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    min: f64,
    max: f64,
    counts: Vec<u64>,
    not_finite: u64,
}

impl Histogram {
    /// The distribution of `numbers` in 30 buckets, as many as TensorBoard draws.
    pub fn of<T: Copy + Into<f64>>(numbers: &[T]) -> Self {
        Histogram::with_buckets(numbers, 30)
    }

    /// The distribution of `numbers` in `buckets` buckets, at least one. If all numbers are equal there
    /// is one bucket, and without any number there is none.
    pub fn with_buckets<T: Copy + Into<f64>>(numbers: &[T], buckets: usize) -> Self {
        let finite = || numbers.iter().map(|&number| number.into()).filter(|number| number.is_finite());
        let (min, max) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), number| {
            (min.min(number), max.max(number))
        });
        let found = finite().count();
        let buckets = match (found, min < max) {
            (0, _) => 0,
            (_, false) => 1,
            (_, true) => buckets.max(1),
        };
        let mut counts = vec![0; buckets];
        // Halved, because the width between two large numbers may overflow.
        let width = max / 2.0 - min / 2.0;
        for number in finite() {
            let share = if width > 0.0 { (number / 2.0 - min / 2.0) / width } else { 0.0 };
            let bucket = (share * buckets as f64) as usize;
            if let Some(count) = counts.get_mut(bucket.min(buckets.saturating_sub(1))) {
                *count += 1;
            }
        }
        let (min, max) = if found > 0 { (min, max) } else { (0.0, 0.0) };
        Histogram { min, max, counts, not_finite: (numbers.len() - found) as u64 }
    }

    /// The smallest finite number; 0 without any.
    pub fn min(&self) -> f64 {
        self.min
    }

    /// The largest finite number; 0 without any.
    pub fn max(&self) -> f64 {
        self.max
    }

    /// How many numbers are in each bucket, in ascending order.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The borders of the buckets, one more than there are buckets. Empty if there is no bucket.
    pub fn borders(&self) -> Vec<f64> {
        let buckets = self.counts.len();
        let border = |n: usize| {
            let share = n as f64 / buckets as f64;
            self.min * (1.0 - share) + self.max * share
        };
        if buckets == 0 { Vec::new() } else { (0..=buckets).map(border).collect() }
    }

    /// How many numbers were NaN or infinite.
    pub fn not_finite(&self) -> u64 {
        self.not_finite
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(numbers: &[f64], buckets: usize, borders: &[f64], counts: &[u64], not_finite: u64) {
        let histogram = Histogram::with_buckets(numbers, buckets);
        assert_eq!(histogram.borders(), borders);
        assert_eq!((histogram.counts(), histogram.not_finite()), (counts, not_finite));
    }

    #[test]
    fn numbers_are_counted_in_buckets_of_equal_width() {
        check(&[0.0, 1.0, 2.0, 3.0, 4.0], 4, &[0.0, 1.0, 2.0, 3.0, 4.0], &[1, 1, 1, 2], 0);
        check(&[-1.0, 1.0, f64::NAN, f64::INFINITY], 2, &[-1.0, 0.0, 1.0], &[1, 1], 2);
        check(&[5.0, 5.0], 30, &[5.0, 5.0], &[2], 0);
        check(&[], 30, &[], &[], 0);
        check(&[f64::NAN], 30, &[], &[], 1);
        check(&[1.0, 2.0], 0, &[1.0, 2.0], &[2], 0);
        check(&[-f64::MAX, 0.0, f64::MAX], 2, &[-f64::MAX, 0.0, f64::MAX], &[1, 2], 0);
        assert_eq!(Histogram::of(&[0.0_f32, 1.0]).counts().len(), 30);
    }
}
