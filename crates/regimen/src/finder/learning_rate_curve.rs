//! The losses of a sweep over learning rates.

use std::fmt;

use crate::fitloop::Figure;
use crate::text::Short;

/// The losses of a sweep over learning rates, by a [`LearningRateFinder`](super::LearningRateFinder).
///
/// Three rules suggest a rate, all of them those of fastai. They look at the average loss, without the first tenth of
/// the sweep and without its last 5 updates. Each returns `None` if the loss falls nowhere between these.
///
/// As text it is a table of its points, with the suggestions below:
///
/// ```text
///      rate      loss  smoothed
///  1.000e-7     2.305     2.305
///  1.172e-7     2.311     2.308
/// suggestion: 0.02089 (longest valley), 0.03628 (steepest), 0.01431 (tenth of the minimum)
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LearningRateCurve {
    points: Vec<LearningRatePoint>,
    updates: u64,
    is_linear: bool,
}

/// One update of a sweep.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct LearningRatePoint {
    /// The learning rate of the update.
    pub rate: f64,
    /// The mean of the losses of the update's steps, before it.
    pub loss: f64,
    /// The exponential average of the losses so far, of which each leaves 0.98, divided by the sum of its weights.
    pub smoothed: f64,
}

impl LearningRateCurve {
    pub(super) fn new(points: Vec<LearningRatePoint>, updates: u64, is_linear: bool) -> Self {
        LearningRateCurve { points, updates, is_linear }
    }

    /// The points, in the order of their rates.
    pub fn points(&self) -> &[LearningRatePoint] {
        &self.points
    }

    /// The suggested learning rate: between a third and a half of the way down the longest valley.
    ///
    /// The valley is the longest choice of points, neighbours or not, of which each has a smaller loss than the one
    /// before. It depends less on the noise of single batches than [`steepest`](LearningRateCurve::steepest).
    pub fn suggestion(&self) -> Option<f64> {
        Some(self.judged().get(valley(self.judged())?)?.rate)
    }

    /// The rate at which the loss falls fastest over the logarithm of the rate.
    pub fn steepest(&self) -> Option<f64> {
        let slope = |pair: &[LearningRatePoint]| match pair {
            [a, b] => (b.smoothed - a.smoothed) / (b.rate.ln() - a.rate.ln()),
            _ => f64::INFINITY,
        };
        let steepest = self.judged().windows(2).min_by(|a, b| slope(a).total_cmp(&slope(b)))?;
        Some(steepest.first()?.rate).filter(|_| slope(steepest) < 0.0)
    }

    /// A tenth of the rate at which the loss is smallest.
    pub fn minimum(&self) -> Option<f64> {
        let least = self.judged().iter().min_by(|a, b| a.smoothed.total_cmp(&b.smoothed))?;
        let falls = self.judged().first().is_some_and(|first| least.smoothed < first.smoothed);
        falls.then_some(least.rate / 10.0)
    }

    /// A chart of the average loss over the rate, with the [suggestion](LearningRateCurve::suggestion) marked. The axis
    /// of rates is logarithmic, unless the sweep was [linear](super::LearningRateFinder::linear). If the loss of the last
    /// 5 updates is so large that the others would look like one, it is left out.
    pub fn figure(&self) -> Figure {
        let smoothed = self.points.iter().map(|point| point.smoothed);
        let others = smoothed.clone().take(self.points.len().saturating_sub(5));
        let (low, high) = others
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), loss| (low.min(loss), high.max(loss)));
        let is_shown = |loss: f64| self.points.len() <= 5 || loss - high <= high - low;
        let smoothed: Vec<f64> = smoothed.map(|loss| if is_shown(loss) { loss } else { f64::NAN }).collect();
        let figure = Figure::new("loss, smoothed").x_label("learning rate").line("smoothed", &smoothed);
        let rates = self.points.first().zip(self.points.last());
        let figure = match rates {
            Some((first, last)) if !self.is_linear => figure.x_powers(first.rate, last.rate),
            Some((first, last)) => figure.x_range(first.rate, last.rate),
            None => figure,
        };
        match self.suggestion() {
            Some(rate) => figure.mark(rate, format!("suggestion: {}", Short(rate))),
            None => figure,
        }
    }

    /// The points that are judged.
    fn judged(&self) -> &[LearningRatePoint] {
        let (begin, end) = ((self.updates / 10) as usize, self.points.len().saturating_sub(5));
        self.points.get(begin..end).unwrap_or_default()
    }
}

/// The place that the longest valley suggests.
fn valley(points: &[LearningRatePoint]) -> Option<usize> {
    // The length of the longest valley that ends at each point.
    let mut lengths: Vec<usize> = Vec::with_capacity(points.len());
    for (i, point) in points.iter().enumerate() {
        let before = points.iter().zip(&lengths).take(i);
        let above = before.filter(|(other, _)| point.smoothed < other.smoothed).map(|(_, length)| *length);
        lengths.push(above.max().unwrap_or(0) + 1);
    }
    let length = lengths.iter().copied().max().filter(|&length| length > 1)?;
    let end = lengths.iter().position(|&other| other == length)?;
    // Its first point, if it has no gap, is the one behind `end - length`.
    Some((end + length / 3 + length / 6).saturating_sub(length))
}

impl fmt::Display for LearningRateCurve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>9} {:>9} {:>9}", "rate", "loss", "smoothed")?;
        for LearningRatePoint { rate, loss, smoothed } in &self.points {
            let [rate, loss, smoothed] = [rate, loss, smoothed].map(|number| Short(*number).to_string());
            writeln!(f, "{rate:>9} {loss:>9} {smoothed:>9}")?;
        }
        let rules = [
            (self.suggestion(), "longest valley"),
            (self.steepest(), "steepest"),
            (self.minimum(), "tenth of the minimum"),
        ];
        let told = rules.into_iter().filter_map(|(rate, rule)| Some(format!("{} ({rule})", Short(rate?))));
        match told.collect::<Vec<_>>() {
            told if told.is_empty() => f.write_str("no suggestion: the loss falls at no rate of the sweep"),
            told => write!(f, "suggestion: {}", told.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sweep of 100 updates from 1e-7 to 10, with the loss `loss(i)` at update `i` of `made`.
    fn curve(made: u32, loss: impl Fn(f64) -> f64) -> LearningRateCurve {
        let point = |i: u32| {
            let (rate, loss) = (1e-7 * 1e8_f64.powf(f64::from(i) / 99.0), loss(f64::from(i)));
            LearningRatePoint { rate, loss, smoothed: loss }
        };
        LearningRateCurve::new((0..made).map(point).collect(), 100, false)
    }

    fn sigmoid(i: f64) -> f64 {
        2.3 - 1.5 / (1.0 + (-(i - 55.0) / 6.0).exp())
            + 0.05 * (i * 1.7).sin()
            + (i - 80.0).max(0.0).powi(2) * 0.01
    }

    #[test]
    fn the_suggestions_are_those_of_fastai() {
        // Printed by `valley`, `steep` and `minimum` of fastai 2.8.2, of the same losses.
        let check = |curve: LearningRateCurve, expected: [f64; 3]| {
            let found =
                [curve.suggestion(), curve.steepest(), curve.minimum()].map(|rate| rate.unwrap_or(0.0));
            for (found, expected) in found.iter().zip(expected) {
                assert!((found / expected - 1.0).abs() < 1e-12, "{found} is not {expected}");
            }
        };
        check(curve(100, sigmoid), [0.010235310218990268, 0.001917910261672489, 0.029150530628251757]);
        check(curve(71, sigmoid), [0.0013219411484660286, 0.001917910261672489, 0.0017886495290574348]);
        let noise = |i: f64| 1.0 + (i * 7919.0 % 101.0) / 101.0;
        check(curve(100, noise), [0.017886495290574348, 0.35111917342151344, 0.0037649358067924714]);
        let falling = |i: f64| 200.0 - i * i.sqrt() / 10.0;
        check(curve(100, falling), [0.0013219411484660286, 3.2745491628777317, 0.39442060594376555]);
    }

    #[test]
    fn a_loss_that_falls_nowhere_suggests_nothing() {
        for curve in
            [curve(100, |i| i), curve(100, |_| 1.0), curve(16, |i| -i), curve(3, |i| -i), curve(0, |i| i)]
        {
            assert_eq!((curve.suggestion(), curve.steepest(), curve.minimum()), (None, None, None));
            let text = curve.to_string();
            assert_eq!(
                text.lines().last(),
                Some("no suggestion: the loss falls at no rate of the sweep"),
                "{text}"
            );
        }
    }
}
