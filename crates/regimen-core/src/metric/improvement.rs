//! Improvements of a metric on its best value.

use std::fmt;

use crate::BoxError;

/// The rule for an improvement: a value is better than the best one by more than a least change.
///
/// NaN never improves, and never is the best. The first other value does.
///
/// ```
/// use regimen_core::metric::Improvement;
///
/// let improvement = Improvement::min().by(0.5);
/// assert!(improvement.is_better(1.0, None));
/// assert!(improvement.is_better(0.25, Some(1.0)));
/// assert!(!improvement.is_better(0.5, Some(1.0)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Improvement {
    goal: Goal,
    by: f64,
    /// Whether `by` is a fraction of the best value's size.
    is_relative: bool,
}

/// The direction in which a metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Goal {
    /// Small values, as of a loss.
    Min,
    /// Large values, as of an accuracy.
    Max,
}

impl Improvement {
    /// Of a metric that should fall, by any change.
    pub const fn min() -> Self {
        Improvement { goal: Goal::Min, by: 0.0, is_relative: false }
    }

    /// Of a metric that should rise, by any change.
    pub const fn max() -> Self {
        Improvement { goal: Goal::Max, by: 0.0, is_relative: false }
    }

    /// By more than `change`.
    pub const fn by(self, change: f64) -> Self {
        Improvement { by: change, is_relative: false, ..self }
    }

    /// By more than this fraction of the best value's size: 0.01 asks for 1 %. Any change improves on
    /// an infinite value.
    pub const fn by_part(self, part: f64) -> Self {
        Improvement { by: part, is_relative: true, ..self }
    }

    /// The direction of better values.
    pub const fn goal(&self) -> Goal {
        self.goal
    }

    /// Refuses a least change that is negative or not finite; `what` names it.
    pub fn check(&self, what: &str) -> Result<(), BoxError> {
        let by = self.by;
        match by.is_finite() && by >= 0.0 {
            true => Ok(()),
            false => Err(format!("{what} is {by}; give a finite number of at least 0").into()),
        }
    }

    /// Whether `value` improves on `best`: whether it would be better with the least change taken off.
    pub fn is_better(&self, value: f64, best: Option<f64>) -> bool {
        let Some(best) = best else { return !value.is_nan() };
        self.goal.is_better(self.goal.worse_by(value, self.margin(best)), best)
    }

    /// The same, but the least change is put on the best value, as PyTorch's plateaus do: the sums round
    /// otherwise.
    pub(crate) fn is_past(&self, value: f64, best: Option<f64>) -> bool {
        let Some(best) = best else { return !value.is_nan() };
        self.goal.is_better(value, self.goal.worse_by(best, -self.margin(best)))
    }

    fn margin(&self, best: f64) -> f64 {
        match self.is_relative {
            true if best.is_finite() => self.by * best.abs(),
            true => 0.0,
            false => self.by,
        }
    }
}

impl Goal {
    /// Whether `value` is better than `other`; false if one of them is NaN.
    pub fn is_better(self, value: f64, other: f64) -> bool {
        match self {
            Goal::Min => value < other,
            Goal::Max => value > other,
        }
    }

    /// The value that every other is better than.
    pub fn worst(self) -> f64 {
        match self {
            Goal::Min => f64::INFINITY,
            Goal::Max => f64::NEG_INFINITY,
        }
    }

    /// The value that is `change` worse.
    fn worse_by(self, value: f64, change: f64) -> f64 {
        match self {
            Goal::Min => value + change,
            Goal::Max => value - change,
        }
    }
}

/// `min` or `max`.
impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Goal::Min => "min",
            Goal::Max => "max",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks which of `values` improve on `best`, the other way round too.
    fn check(improvement: Improvement, best: f64, values: &[f64], expected: &[bool]) {
        let Improvement { by, is_relative, .. } = improvement;
        let turned = Improvement { by, is_relative, ..Improvement::max() };
        for (&value, &expected) in values.iter().zip(expected) {
            let found = [
                improvement.is_better(value, Some(best)),
                improvement.is_past(value, Some(best)),
                turned.is_better(-value, Some(-best)),
                turned.is_past(-value, Some(-best)),
            ];
            assert_eq!(found, [expected; 4], "{value} after {best} by {improvement:?}");
        }
    }

    #[test]
    fn a_value_improves_if_it_is_better_by_more_than_the_least_change() {
        let (min, inf) = (Improvement::min(), f64::INFINITY);
        check(min, 1.0, &[0.875, 1.0, 1.125, -inf, f64::NAN], &[true, false, false, true, false]);
        check(min.by(0.25), 1.0, &[0.5, 0.75, 0.875, -1.0], &[true, false, false, true]);
        // A fraction of the size, for any sign.
        check(min.by_part(0.25), -4.0, &[-4.5, -5.0, -5.5, 3.0], &[false, false, true, false]);
        check(min.by_part(0.25), inf, &[5.0, inf], &[true, false]);
        check(min.by(2.0), inf, &[5.0, inf], &[true, false]);
        check(min.by(0.0), f64::NAN, &[5.0], &[false]);
    }

    #[test]
    fn the_first_value_improves_unless_it_is_nan() {
        for improvement in [Improvement::min().by(1.0), Improvement::max().by_part(1.0)] {
            for value in [0.0, f64::INFINITY, f64::NEG_INFINITY] {
                assert!(improvement.is_better(value, None) && improvement.is_past(value, None));
            }
            assert!(!improvement.is_better(f64::NAN, None) && !improvement.is_past(f64::NAN, None));
        }
    }
}
