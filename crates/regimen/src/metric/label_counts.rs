//! Counts of multi-label classification: each sample has any number of labels.

use super::average::Outcomes;
use super::logits::check_lengths;
use super::measure::counted_by_each_rank;
use super::{Average, Measure, ratio};
use crate::BoxError;
use crate::saved::{Array, StateDict, Stateful};

/// Counts for each label how often it was predicted right and wrong, for samples with any number of labels.
///
/// Its scores are those of one label or [averaged](Average), as in scikit-learn, except that they return `None` if
/// there is nothing to divide by. [`Score`](super::Score) logs one of them.
///
/// ```
/// use regimen::metric::{Average, LabelCounts, Measure};
///
/// let mut counts = LabelCounts::new(3)?;
/// // Two samples of three labels each.
/// let predicted = [true, false, true, /* second sample */ false, true, false];
/// let targets = [true, false, false, /* second sample */ false, true, false];
/// counts.update((&predicted, &targets))?;
/// assert_eq!((counts.exact_match(), counts.hamming_loss()), (Some(0.5), Some(1.0 / 6.0)));
/// assert_eq!(counts.f_beta(1.0, Average::Micro), Some(0.8));
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelCounts {
    labels: Vec<Outcomes>,
    samples: u64,
    exact: u64,
}

const MOST: usize = 1 << 24;

impl LabelCounts {
    /// Empty counts of `labels` labels, numbered from 0. None at all is an error, and so are more than 2^24.
    pub fn new(labels: usize) -> Result<Self, BoxError> {
        if labels == 0 {
            return Err("counts of 0 labels hold nothing; give 1 or more".into());
        }
        if labels > MOST {
            return Err(format!("counts of {labels} labels are too many; at most {MOST} are held").into());
        }
        Ok(LabelCounts { labels: vec![Outcomes::default(); labels], samples: 0, exact: 0 })
    }

    /// Counts a matrix of scores, one row for each sample and in it one for each label, which is predicted if its score
    /// is `threshold` or more: 0 for logits, 0.5 for probabilities. A NaN is an error, and after an error nothing of
    /// this call is counted.
    pub fn update_scores<T: Copy + Into<f64>>(
        &mut self,
        scores: &[T],
        threshold: f64,
        targets: &[bool],
    ) -> Result<(), BoxError> {
        if let Some(index) = scores.iter().position(|&score| score.into().is_nan()) {
            return Err(format!("score {index} is NaN").into());
        }
        if threshold.is_nan() {
            return Err("the threshold is NaN".into());
        }
        check_lengths(scores.len(), targets.len())?;
        self.add(scores.iter().map(|&score| score.into() >= threshold), targets)
    }

    fn add(&mut self, mut predicted: impl Iterator<Item = bool>, targets: &[bool]) -> Result<(), BoxError> {
        let labels = self.labels.len();
        if !targets.len().is_multiple_of(labels) {
            return Err(format!("{} targets are not rows of {labels} labels", targets.len()).into());
        }
        for row in targets.chunks_exact(labels) {
            let mut is_exact = true;
            for ((label, &target), predicted) in self.labels.iter_mut().zip(row).zip(&mut predicted) {
                *match (predicted, target) {
                    (true, true) => &mut label.tp,
                    (true, false) => &mut label.fp,
                    (false, true) => &mut label.fn_,
                    (false, false) => &mut label.tn,
                } += 1;
                is_exact &= predicted == target;
            }
            self.exact += u64::from(is_exact);
            self.samples += 1;
        }
        Ok(())
    }

    /// The number of labels.
    pub fn labels(&self) -> usize {
        self.labels.len()
    }

    /// The number of samples.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Of the samples with the label predicted, the share that has it. Returns `None` if it was never predicted, or if
    /// there is no such label.
    pub fn precision(&self, average: impl Into<Average>) -> Option<f64> {
        self.average(average.into(), Outcomes::precision)
    }

    /// Of the samples that have the label, the share with it predicted. Returns `None` without such samples.
    pub fn recall(&self, average: impl Into<Average>) -> Option<f64> {
        self.average(average.into(), Outcomes::recall)
    }

    /// The weighted harmonic mean of precision and recall, as
    /// [`ConfusionMatrix::f_beta`](super::ConfusionMatrix::f_beta). Returns `None` if no sample has the label or has it
    /// predicted, for a beta of 0 if none has it predicted, and if beta is negative or not finite.
    pub fn f_beta(&self, beta: f64, average: impl Into<Average>) -> Option<f64> {
        self.average(average.into(), |label| label.f_beta(beta))
    }

    /// The share of all labels of all samples that is predicted wrong. Returns `None` without samples.
    pub fn hamming_loss(&self) -> Option<f64> {
        let wrong: f64 = self.labels.iter().map(|label| (label.fp + label.fn_) as f64).sum();
        (self.samples > 0).then(|| wrong / (self.samples as f64 * self.labels.len() as f64))
    }

    /// The share of samples with all labels predicted right, scikit-learn's accuracy of such samples. Returns `None`
    /// without samples.
    pub fn exact_match(&self) -> Option<f64> {
        ratio(self.exact, self.samples)
    }

    fn average(&self, average: Average, score: impl Fn(Outcomes) -> Option<f64>) -> Option<f64> {
        average.of(self.labels.len(), |label| self.labels[label], score)
    }
}

/// Of predictions and targets: a row for each sample, with one for each label.
impl Measure for LabelCounts {
    type Batch<'b> = (&'b [bool], &'b [bool]);

    /// The [exact match](LabelCounts::exact_match).
    type Value = Option<f64>;

    fn update(&mut self, (predicted, targets): Self::Batch<'_>) -> Result<(), BoxError> {
        check_lengths(predicted.len(), targets.len())?;
        self.add(predicted.iter().copied(), targets)
    }

    fn compute(&self) -> Option<f64> {
        self.exact_match()
    }

    fn merge(&mut self, other: &LabelCounts) -> Result<(), BoxError> {
        if self.labels.len() != other.labels.len() {
            let (ours, theirs) = (self.labels.len(), other.labels.len());
            return Err(format!("counts of {ours} and {theirs} labels cannot be merged").into());
        }
        for (ours, theirs) in self.labels.iter_mut().zip(&other.labels) {
            *ours = ours.add(*theirs);
        }
        self.samples += other.samples;
        self.exact += other.exact;
        Ok(())
    }

    fn reset(&mut self) {
        self.labels.fill(Outcomes::default());
        (self.samples, self.exact) = (0, 0);
    }
}

/// The counts; labels are a setting, and a state of another number of them is refused.
impl Stateful for LabelCounts {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let of = |count: fn(&Outcomes) -> u64| {
            Array::from_slice(&self.labels.iter().map(count).collect::<Vec<_>>())
        };
        let mut dict = StateDict::new();
        dict.insert("true_positives", of(|label| label.tp))?;
        dict.insert("false_positives", of(|label| label.fp))?;
        dict.insert("false_negatives", of(|label| label.fn_))?;
        dict.insert("samples", self.samples)?;
        dict.insert("exact", self.exact)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.check_state_dict(dict)?;
        let counts = |name: &str| dict.array(name)?.to_vec::<u64>();
        let (tp, fp, fn_) =
            (counts("true_positives")?, counts("false_positives")?, counts("false_negatives")?);
        let (samples, exact) = (dict.count("samples")?, dict.count("exact")?);
        let of_label = |((tp, fp), fn_): ((u64, u64), u64)| {
            let tn = samples.checked_sub(tp).and_then(|rest| rest.checked_sub(fp)?.checked_sub(fn_));
            tn.map(|tn| Outcomes { tp, fp, tn, fn_ })
        };
        let labels: Option<Vec<Outcomes>> = tp.into_iter().zip(fp).zip(fn_).map(of_label).collect();
        let labels = labels.filter(|_| exact <= samples);
        self.labels = labels.ok_or("a label was counted more often than there are samples; it is damaged")?;
        (self.samples, self.exact) = (samples, exact);
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.state_dict()?.check_same_layout(dict)
    }

    counted_by_each_rank!();
}
