//! The values of one metric over the training.

use crate::buckets::{Bucket, Buckets};

/// The values of one metric in one phase: those of single steps, and those over epochs.
///
/// A long history is in [`Buckets`]. The extremes are those of all values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    steps: History,
    epochs: History,
    extremes: Extremes,
    newest: Option<f64>,
}

/// Values of one kind.
#[derive(Clone, Debug, Default)]
struct History {
    finite: Buckets,
    /// Number of values, finite or not.
    count: u64,
    /// The step of the last.
    last: Option<f64>,
}

/// Completed training steps, and the value.
pub(crate) type Point = (f64, f64);

/// The smallest and the largest of the values that are finite numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Extremes(Option<(f64, f64)>);

impl Series {
    /// Adds the value of a step, or over an epoch.
    pub(crate) fn push(&mut self, step: u64, value: f64, is_over_epoch: bool) {
        let history = if is_over_epoch { &mut self.epochs } else { &mut self.steps };
        let step = step as f64;
        (history.count, history.last) = (history.count + 1, Some(step));
        if value.is_finite() {
            history.finite.push((step, value));
        }
        self.extremes.add(value);
        self.newest = Some(value);
    }

    /// The value logged last.
    pub(crate) fn newest(&self) -> Option<f64> {
        self.newest
    }

    /// The smallest and the largest value, of steps and over epochs.
    pub(crate) fn extremes(&self) -> Option<(f64, f64)> {
        self.extremes.0
    }

    /// The last training step with a value.
    pub(crate) fn last_step(&self) -> Option<f64> {
        [self.steps.last, self.epochs.last].into_iter().flatten().max_by(f64::total_cmp)
    }

    /// The points of its line: the values of steps, or those over epochs if these are more.
    ///
    /// Values before the step `from` and those that are not finite are left out, and so are those up to 0 on a
    /// logarithmic axis. `smoothing` is the weight of the smoothed value before, from 0 to less than 1; a bucket of
    /// `n` values counts as `n` times their mean. Per `columns` at most two points stay: the smallest and the largest
    /// of those that fall into one column.
    pub(crate) fn line(&self, from: f64, smoothing: f64, is_log: bool, columns: usize) -> Vec<Point> {
        let history = if self.epochs.count <= self.steps.count { &self.steps } else { &self.epochs };
        let shown = |&(_, value): &Point| !is_log || 0.0 < value;
        let points: Vec<Point> = match smoothing {
            0.0 => history.finite.iter().flat_map(ends).filter(shown).collect(),
            _ => smoothed(history.finite.iter().filter(|bucket| shown(&bucket.mean)), smoothing).collect(),
        };
        let points = points.into_iter().filter(|&(step, _)| from <= step);
        let line: Vec<Point> =
            points.map(|(step, value)| (step, if is_log { value.log10() } else { value })).collect();
        if line.len() <= 2 * columns { line } else { thinned(&line, columns) }
    }
}

/// The smallest and the largest value of a bucket in the order of their steps, or its only one.
fn ends(bucket: Bucket) -> impl Iterator<Item = Point> {
    let Bucket { least, most, .. } = bucket;
    let (first, second) = if most.0 < least.0 { (most, least) } else { (least, most) };
    std::iter::once(first).chain((first != second).then_some(second))
}

/// The mean of all values so far, each with its weight, as in TensorBoard: no start at 0 is seen.
fn smoothed(buckets: impl Iterator<Item = Bucket>, smoothing: f64) -> impl Iterator<Item = Point> {
    let (mut sum, mut weight) = (0.0, 0.0);
    buckets.map(move |bucket| {
        let before = smoothing.powf(bucket.count as f64);
        sum = before * sum + (1.0 - before) * bucket.mean.1;
        weight = before * weight + (1.0 - before);
        (bucket.mean.0, sum / weight)
    })
}

impl Extremes {
    fn add(&mut self, value: f64) {
        if value.is_finite() {
            let (least, most) = self.0.unwrap_or((value, value));
            self.0 = Some((least.min(value), most.max(value)));
        }
    }
}

/// The smallest and the largest value per column, in the order of their steps.
fn thinned(line: &[Point], columns: usize) -> Vec<Point> {
    let (Some(&(first, _)), Some(&(last, _))) = (line.first(), line.last()) else { return Vec::new() };
    let wide = ((last - first) / columns.max(1) as f64).max(f64::MIN_POSITIVE);
    let column = |point: &Point| ((point.0 - first) / wide) as usize;
    let mut thin = Vec::new();
    for points in line.chunk_by(|a, b| column(a) == column(b)) {
        let by_value = |a: &&Point, b: &&Point| a.1.total_cmp(&b.1);
        let (least, most) = (points.iter().min_by(by_value), points.iter().max_by(by_value));
        let mut kept: Vec<Point> = least.into_iter().chain(most).copied().collect();
        kept.sort_by(|a, b| a.0.total_cmp(&b.0));
        kept.dedup();
        thin.append(&mut kept);
    }
    thin
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f64]) -> Series {
        let mut series = Series::default();
        (1..).zip(values).for_each(|(step, &value)| series.push(step, value, false));
        series
    }

    #[test]
    fn a_line_leaves_out_what_has_no_place_on_it() {
        let of = series(&[1.0, f64::NAN, 100.0, -1.0, f64::INFINITY, 10.0]);
        assert_eq!(of.line(0.0, 0.0, false, 9), [(1.0, 1.0), (3.0, 100.0), (4.0, -1.0), (6.0, 10.0)]);
        assert_eq!(of.line(0.0, 0.0, true, 9), [(1.0, 0.0), (3.0, 2.0), (6.0, 1.0)]);
        assert_eq!(of.line(4.0, 0.0, false, 9), [(4.0, -1.0), (6.0, 10.0)]);
        assert_eq!((of.newest(), of.extremes()), (Some(10.0), Some((-1.0, 100.0))));
        assert_eq!(series(&[f64::NAN]).extremes(), None);
    }

    #[test]
    fn values_over_epochs_are_a_line_where_there_are_none_of_steps() {
        let mut of = Series::default();
        of.push(10, 0.5, true);
        of.push(20, 0.25, true);
        assert_eq!(of.line(0.0, 0.0, false, 9), [(10.0, 0.5), (20.0, 0.25)]);
        assert_eq!((of.extremes(), of.last_step()), (Some((0.25, 0.5)), Some(20.0)));
    }

    /// The second value is (0.75 * 0.25 * 4 + 0.25 * 8) / (1 - 0.75^2), by the formula of TensorBoard.
    #[test]
    fn a_smoothed_value_is_the_weighted_mean_of_those_before() {
        let line = series(&[4.0, 8.0]).line(0.0, 0.75, false, 9);
        assert_eq!(line, [(1.0, 4.0), (2.0, 2.75 / 0.4375)]);
    }

    #[test]
    fn a_peak_is_seen_in_a_line_of_few_columns() {
        let mut values = vec![1.0; 1000];
        values[500] = 7.0;
        let line = series(&values).line(0.0, 0.0, false, 10);
        assert!(line.len() <= 22 && line.contains(&(501.0, 7.0)), "{line:?}");
    }

    #[test]
    fn the_beginning_a_spike_and_the_end_of_a_long_history_stay() {
        let value = |step: u64| if step == 777 { 1e7 } else { step as f64 };
        let values: Vec<f64> = (1..=1_000_000).map(value).collect();
        let of = series(&values);
        let line = of.line(0.0, 0.0, false, usize::MAX / 4);
        assert!(line.len() <= 15_000, "{}", line.len());
        assert_eq!(line[0], (1.0, 1.0));
        assert!(line.contains(&(777.0, 1e7)));
        assert!(line.is_sorted_by(|a, b| a.0 < b.0));
        let newest: Vec<Point> =
            (990_001..=1_000_000).map(|step| (f64::from(step), f64::from(step))).collect();
        assert_eq!(of.line(990_001.0, 0.0, false, usize::MAX / 4), newest);
        assert_eq!(of.extremes(), Some((1.0, 1e7)));
        let narrow = of.line(0.0, 0.0, false, 80);
        assert!(narrow.len() <= 2 * 81 && narrow[0] == (1.0, 1.0) && narrow.contains(&(777.0, 1e7)));
    }

    /// Values of one sign and size, so that a bucket of them is smoothed as its values are.
    #[test]
    fn a_long_history_is_smoothed_as_its_values() {
        let values: Vec<f64> = (0..200_000).map(|step| if step < 100_000 { 4.0 } else { 2.0 }).collect();
        let line = series(&values).line(0.0, 0.98, false, usize::MAX / 4);
        assert!((line[0].1 - 4.0).abs() < 1e-9, "{:?}", line[0]);
        assert!((line[line.len() - 1].1 - 2.0).abs() < 1e-9);
        // By the formula of TensorBoard, 400 values after the change, in double precision.
        let (mut sum, mut weight) = (0.0, 0.0);
        let mut expected = Vec::new();
        for value in &values {
            sum = 0.98 * sum + 0.02 * value;
            weight = 0.98 * weight + 0.02;
            expected.push(sum / weight);
        }
        for (step, value) in line {
            // The bucket around the change has values of both.
            if !(99_900.0..101_500.0).contains(&step) {
                assert!((value - expected[step as usize - 1]).abs() < 1e-6, "{value} at {step}");
            }
        }
    }
}
