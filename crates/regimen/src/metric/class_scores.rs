//! Scores of a confusion matrix: precision, recall and others by class or averaged, and correlation and agreement.

use super::average::Outcomes;
use super::{Average, ConfusionMatrix};

/// How much a confusion of two classes weighs in [Cohen's kappa](ConfusionMatrix::kappa).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KappaWeights {
    /// All confusions alike.
    Equal,
    /// By the difference of the class numbers, for classes that have an order.
    Linear,
    /// By its square.
    Quadratic,
}

/// Scores, each of one class or [averaged](Average): `matrix.recall(3)`, `matrix.recall(Average::Macro)`. They are as
/// in scikit-learn, except that they return `None` if there is nothing to divide by. A sample without a prediction is
/// one of its target that was missed.
impl ConfusionMatrix {
    /// Of the samples predicted as the class, the share that is of it: TP / (TP + FP). Returns `None` if none was
    /// predicted as it, or if there is no such class.
    pub fn precision(&self, average: impl Into<Average>) -> Option<f64> {
        self.average(average.into(), Outcomes::precision)
    }

    /// Of the samples of the class, the share that was predicted as it: TP / (TP + FN), the accuracy of this class.
    /// Returns `None` without such samples.
    pub fn recall(&self, average: impl Into<Average>) -> Option<f64> {
        self.average(average.into(), Outcomes::recall)
    }

    /// The weighted harmonic mean of precision and recall (van Rijsbergen, "Information Retrieval", 1979): (1 + beta^2)
    /// TP / ((1 + beta^2) TP + beta^2 FN + FP). The F1 score has a beta of 1; a larger one weighs recall more. Returns
    /// `None` if the class has neither samples nor predictions, for a beta of 0 without predictions, and if beta is negative or
    /// not finite.
    ///
    /// ```
    /// use regimen::metric::{Average, ConfusionMatrix, Measure};
    ///
    /// let mut matrix = ConfusionMatrix::new(2)?;
    /// matrix.update((&[0, 0, 1, 1], &[0, 1, 1, 1]))?;
    /// assert_eq!(matrix.f_beta(1.0, 1), Some(0.8));
    /// assert_eq!(matrix.f_beta(1.0, Average::Micro), matrix.accuracy());
    /// # Ok::<(), regimen::BoxError>(())
    /// ```
    pub fn f_beta(&self, beta: f64, average: impl Into<Average>) -> Option<f64> {
        self.average(average.into(), |class| class.f_beta(beta))
    }

    /// Of the samples of other classes, the share that was not predicted as the class: TN / (TN + FP). Returns `None`
    /// without such samples.
    pub fn specificity(&self, average: impl Into<Average>) -> Option<f64> {
        self.average(average.into(), Outcomes::specificity)
    }

    /// The Jaccard index, or intersection over union: TP / (TP + FP + FN). Returns `None` if the class has neither
    /// samples nor predictions.
    pub fn jaccard(&self, average: impl Into<Average>) -> Option<f64> {
        self.average(average.into(), Outcomes::jaccard)
    }

    /// The mean of the recalls of all classes that have samples: `recall(Average::Macro)`.
    pub fn balanced_accuracy(&self) -> Option<f64> {
        self.recall(Average::Macro)
    }

    /// The correlation of targets and predictions, from -1 to 1, for two classes and more (Gorodkin, "Comparing two
    /// K-category assignments by a K-category correlation coefficient", 2004). Samples without a prediction are
    /// predictions of a further class. Returns `None`, scikit-learn 0, if all targets or all predictions are of one
    /// class.
    pub fn matthews(&self) -> Option<f64> {
        let (targets, predictions) = self.margins();
        let square = |counts: &[u64]| counts.iter().map(|&count| square(count)).sum::<u128>();
        let total = self.total();
        let of_targets = u128::from(total) * u128::from(total) - square(&targets);
        let of_predictions = u128::from(total) * u128::from(total) - square(&predictions);
        if of_targets == 0 || of_predictions == 0 {
            return None;
        }
        // Whole numbers up to here, because the two terms cancel.
        let (right, by_chance) =
            (u128::from(total) * u128::from(self.right()), product(&targets, &predictions));
        let difference = right.abs_diff(by_chance) as f64;
        let size = difference / (of_targets as f64 * of_predictions as f64).sqrt();
        Some(if right < by_chance { -size } else { size })
    }

    /// Cohen's kappa, the agreement beyond chance, from -1 to 1: 1 - (sum of w x) / (sum of w e), with the share x of
    /// each pair of target and prediction, e by chance, and its weight w (Cohen, "Weighted kappa", 1968). A sample
    /// without a prediction has the largest weight of all. Returns `None` if nothing but agreement is possible by
    /// chance, as with one class.
    pub fn kappa(&self, weights: KappaWeights) -> Option<f64> {
        let last = self.classes() - 1;
        let weight = |target: usize, prediction: usize| {
            let apart = if prediction > last { last } else { target.abs_diff(prediction) };
            match weights {
                KappaWeights::Equal => f64::from(u8::from(target != prediction)),
                KappaWeights::Linear => apart as f64,
                KappaWeights::Quadratic => (apart * apart) as f64,
            }
        };
        let (targets, predictions) = self.margins();
        let (mut found, mut by_chance) = (0.0, 0.0);
        for (target, &samples) in targets.iter().enumerate() {
            for (prediction, &predicted) in predictions.iter().enumerate() {
                let weight = weight(target, prediction);
                found += weight * self.cell(target, prediction) as f64;
                by_chance += weight * (samples as f64 * predicted as f64);
            }
        }
        (by_chance > 0.0).then(|| 1.0 - found * self.total() as f64 / by_chance)
    }

    /// The samples of each target, and those of each prediction, that of no class last.
    fn margins(&self) -> (Vec<u64>, Vec<u64>) {
        let (mut targets, mut predictions) = (vec![0; self.classes()], vec![0; self.classes() + 1]);
        for (target, samples) in targets.iter_mut().enumerate() {
            for (prediction, predicted) in predictions.iter_mut().enumerate() {
                let count = self.cell(target, prediction);
                *samples += count;
                *predicted += count;
            }
        }
        (targets, predictions)
    }

    /// The average of a score of the classes.
    fn average(&self, average: Average, score: impl Fn(Outcomes) -> Option<f64>) -> Option<f64> {
        average.of(self.classes(), |class| self.outcomes(class), score)
    }

    fn outcomes(&self, class: usize) -> Outcomes {
        let tp = self.cell(class, class);
        let predicted: u64 = (0..self.classes()).map(|target| self.cell(target, class)).sum();
        let samples: u64 = (0..=self.classes()).map(|prediction| self.cell(class, prediction)).sum();
        Outcomes { tp, fp: predicted - tp, fn_: samples - tp, tn: self.total() + tp - samples - predicted }
    }
}

fn square(count: u64) -> u128 {
    u128::from(count) * u128::from(count)
}

fn product(targets: &[u64], predictions: &[u64]) -> u128 {
    targets.iter().zip(predictions).map(|(&a, &b)| u128::from(a) * u128::from(b)).sum()
}
