//! Curves of each class against all others, for scores of several classes.

use super::average::mean;
use super::logits::check_target;
use super::measure::counted_by_each_rank;
use super::{Average, Measure, ScoreCurve};
use crate::BoxError;
use crate::saved::{StateDict, Stateful};

/// A [`ScoreCurve`] for each class against all others: one-vs-rest, over a matrix of scores. Its value is the
/// macro-averaged area under the ROC curves, `roc_auc_score(multi_class="ovr")` of scikit-learn.
///
/// ```
/// use regimen::metric::{Average, ClassCurves, Measure, ScoreCurve};
///
/// let mut curves = ClassCurves::new(3, ScoreCurve::new())?;
/// let scores = [2.0, 0.5, 0.1, /* second sample */ 0.3, 0.2, 0.9, /* third sample */ 0.1, 0.4, 0.3];
/// curves.update((&scores, &[0, 2, 1]))?;
/// assert_eq!(curves.auroc(1), Some(0.5));
/// assert_eq!(curves.auroc(Average::Macro), Some((1.0 + 0.5 + 1.0) / 3.0));
/// # Ok::<(), regimen::BoxError>(())
/// ```
///
/// Exact curves keep 8 bytes per sample and class. [Binned](ScoreCurve::binned) ones take 16 bytes per bin and class,
/// for any number of samples.
#[derive(Clone, Debug)]
pub struct ClassCurves(Vec<ScoreCurve>);

const MOST: usize = 1 << 16;

impl ClassCurves {
    /// Curves like `empty`, for `classes` classes, numbered from 0. Fewer than two are an error, and so are more than 65,536.
    pub fn new(classes: usize, mut empty: ScoreCurve) -> Result<Self, BoxError> {
        if classes < 2 {
            return Err(format!("curves of {classes} classes; give 2 or more").into());
        }
        if classes > MOST {
            return Err(format!("curves of {classes} classes are too many; at most {MOST} are held").into());
        }
        empty.reset();
        Ok(ClassCurves(vec![empty; classes]))
    }

    /// Counts a matrix of scores of either float type: a row for each target, with a score for each class. A NaN and a
    /// target out of range are errors, and so is a score outside of 0 to 1 for curves of bins; then nothing of this
    /// call is counted.
    pub fn update_scores<T: Copy + Into<f64>>(
        &mut self,
        scores: &[T],
        targets: &[usize],
    ) -> Result<(), BoxError> {
        let classes = self.0.len();
        if targets.len().checked_mul(classes) != Some(scores.len()) {
            let (found, targets) = (scores.len(), targets.len());
            return Err(format!("{found} scores are not {classes} for each of {targets} targets").into());
        }
        targets.iter().try_for_each(|&target| check_target(target, classes))?;
        self.0[0].check(scores.iter().map(|&score| score.into()))?;
        for (class, curve) in self.0.iter_mut().enumerate() {
            let of_class = scores.chunks_exact(classes).map(|row| row[class].into());
            curve.add_each(of_class, targets.iter().map(|&target| target == class));
        }
        Ok(())
    }

    /// The curve of a class. Returns `None` if there is no such class.
    pub fn curve(&self, class: usize) -> Option<&ScoreCurve> {
        self.0.get(class)
    }

    /// The area under the ROC curve, of a class or averaged over those that have one. Returns `None` if none has.
    pub fn auroc(&self, average: impl Into<Average>) -> Option<f64> {
        self.average(average.into(), ScoreCurve::auroc)
    }

    /// The average precision, of a class or averaged over those that have one. Returns `None` if
    /// none has.
    pub fn average_precision(&self, average: impl Into<Average>) -> Option<f64> {
        self.average(average.into(), ScoreCurve::average_precision)
    }

    fn average(&self, average: Average, score: impl Fn(&ScoreCurve) -> Option<f64>) -> Option<f64> {
        match average {
            Average::Class(class) => score(self.curve(class)?),
            Average::Micro => {
                let mut all = self.0[0].clone();
                self.0[1..].iter().try_for_each(|curve| all.merge(curve)).ok()?;
                score(&all)
            }
            Average::Macro => mean(self.0.iter().map(|curve| (1, score(curve)))),
            Average::Weighted => mean(self.0.iter().map(|curve| (curve.positives(), score(curve)))),
        }
    }
}

/// Of scores, a row for each target, and targets.
impl Measure for ClassCurves {
    type Batch<'b> = (&'b [f64], &'b [usize]);

    /// The macro-averaged area under the ROC curves. Returns `None` if no class has one.
    type Value = Option<f64>;

    fn update(&mut self, (scores, targets): Self::Batch<'_>) -> Result<(), BoxError> {
        self.update_scores(scores, targets)
    }

    fn compute(&self) -> Option<f64> {
        self.auroc(Average::Macro)
    }

    fn merge(&mut self, other: &ClassCurves) -> Result<(), BoxError> {
        if self.0.len() != other.0.len() {
            let (ours, theirs) = (self.0.len(), other.0.len());
            return Err(format!("curves of {ours} and {theirs} classes cannot be merged").into());
        }
        // All curves of a measure are alike, so the first fails before anything is merged.
        self.0.iter_mut().zip(&other.0).try_for_each(|(ours, theirs)| ours.merge(theirs))
    }

    fn reset(&mut self) {
        self.0.iter_mut().for_each(ScoreCurve::reset);
    }
}

/// The curves, by the number of their class. A state of other classes or of other curves is refused.
impl Stateful for ClassCurves {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        for (class, curve) in self.0.iter().enumerate() {
            dict.insert_all(&class.to_string(), curve.state_dict()?)?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.check_state_dict(dict)?;
        let mut loaded = self.0.clone();
        for (class, curve) in loaded.iter_mut().enumerate() {
            curve.load_state_dict(&dict.under(&class.to_string()))?;
        }
        self.0 = loaded;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        if dict.len() != 2 * self.0.len() {
            let (found, classes) = (dict.len() / 2, self.0.len());
            return Err(format!("the saved curves are of {found} classes, these of {classes}").into());
        }
        let mut curves = self.0.iter().enumerate();
        curves.try_for_each(|(class, curve)| curve.check_state_dict(&dict.under(&class.to_string())))
    }

    counted_by_each_rank!();
}
