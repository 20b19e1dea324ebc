//! Averages over classes, and the counts of one class against all others.

use super::ratio;

/// How the values of the classes become one, or the class to return. A plain number is a class.
///
/// A class without a value is left out, as by `zero_division=nan` in scikit-learn, whose default counts it as 0. The
/// average is `None` if no class has a value, or if those that have one weigh nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// Of this class against all others.
    Class(usize),
    /// Of the counts of all classes, added up.
    Micro,
    /// The mean over classes.
    Macro,
    /// The mean over classes, weighted by their samples.
    Weighted,
}

impl From<usize> for Average {
    fn from(class: usize) -> Average {
        Average::Class(class)
    }
}

/// Samples of one class against all others: T and F for a prediction that is right or wrong, P and N for one that
/// is of the class or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcomes {
    pub(super) tp: u64,
    pub(super) fp: u64,
    pub(super) tn: u64,
    pub(super) fn_: u64,
}

impl Outcomes {
    pub(super) fn precision(self) -> Option<f64> {
        ratio(self.tp, self.tp + self.fp)
    }

    pub(super) fn recall(self) -> Option<f64> {
        ratio(self.tp, self.tp + self.fn_)
    }

    pub(super) fn specificity(self) -> Option<f64> {
        ratio(self.tn, self.tn + self.fp)
    }

    pub(super) fn jaccard(self) -> Option<f64> {
        ratio(self.tp, self.tp + self.fp + self.fn_)
    }

    /// `None` too if beta is negative or not finite.
    pub(super) fn f_beta(self, beta: f64) -> Option<f64> {
        if !(beta.is_finite() && beta >= 0.0) {
            return None;
        }
        // In this order nothing overflows: TP / (TP + (beta^2 FN + FP) / (1 + beta^2)).
        let of_precision = 1.0 / (1.0 + beta * beta);
        let wrong = (1.0 - of_precision) * self.fn_ as f64 + of_precision * self.fp as f64;
        let tp = self.tp as f64;
        (tp + wrong > 0.0).then(|| tp / (tp + wrong))
    }

    pub(super) fn add(self, other: Outcomes) -> Outcomes {
        Outcomes {
            tp: self.tp + other.tp,
            fp: self.fp + other.fp,
            tn: self.tn + other.tn,
            fn_: self.fn_ + other.fn_,
        }
    }
}

impl Average {
    /// The average of a score of the classes, of which `outcomes` are the counts.
    pub(super) fn of(
        self,
        classes: usize,
        outcomes: impl Fn(usize) -> Outcomes,
        score: impl Fn(Outcomes) -> Option<f64>,
    ) -> Option<f64> {
        let all = (0..classes).map(&outcomes);
        match self {
            Average::Class(class) => (class < classes).then(|| score(outcomes(class)))?,
            Average::Micro => score(all.fold(Outcomes::default(), Outcomes::add)),
            Average::Macro => mean(all.map(|class| (1, score(class)))),
            Average::Weighted => mean(all.map(|class| (class.tp + class.fn_, score(class)))),
        }
    }
}

/// The mean of the values that there are, with their weights.
pub(super) fn mean(values: impl Iterator<Item = (u64, Option<f64>)>) -> Option<f64> {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (weight, value) in values {
        let Some(value) = value else { continue };
        sum += weight as f64 * value;
        weights += weight as f64;
    }
    (weights > 0.0).then(|| sum / weights)
}
