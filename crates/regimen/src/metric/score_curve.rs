//! Curves of a score that separates two classes: ROC and precision-recall, and the areas below them.

use super::average::Outcomes;
use super::logits::check_lengths;
use super::measure::counted_by_each_rank;
use super::probabilities::bin;
use super::sum::Sum;
use super::{Measure, ratio};
use crate::BoxError;
use crate::saved::{Array, MAX_COUNT, StateDict, Stateful};

/// The ROC curve and the precision-recall curve of a binary score: the larger it is, the more likely the sample is
/// positive. Its value is the area under the ROC curve.
///
/// A sample is predicted as positive if its score is the threshold or more; equal scores are one threshold, as in
/// scikit-learn. A score that is NaN is an error.
///
/// [`new`](ScoreCurve::new) keeps every score, 8 bytes for each, and is exact: parts merge to the same bits.
/// [`binned`](ScoreCurve::binned) counts scores from 0 to 1 in bins.
///
/// ```
/// use regimen::metric::{Measure, ScoreCurve};
///
/// let mut curve = ScoreCurve::new();
/// curve.update((&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]))?;
/// assert_eq!(curve.auroc(), Some(0.75));
/// assert_eq!(curve.average_precision(), Some(0.5 + 0.5 * 2.0 / 3.0));
/// assert_eq!(curve.best_f_beta(1.0), Some((0.35, 0.8)));
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ScoreCurve(Kept);

#[derive(Clone, Debug)]
enum Kept {
    Scores { positives: Vec<f64>, negatives: Vec<f64> },
    Bins { positives: Vec<u64>, negatives: Vec<u64> },
}

/// A point of the ROC curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RocPoint {
    /// Scores of it or more are positive.
    pub threshold: f64,
    /// The share of the negative samples that is predicted as positive.
    pub false_positive_rate: f64,
    /// The share of the positive samples that is predicted as positive: the recall.
    pub true_positive_rate: f64,
}

/// A point of the precision-recall curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrecisionRecallPoint {
    /// Scores of it or more are positive.
    pub threshold: f64,
    /// Of the samples predicted as positive, the share that is.
    pub precision: f64,
    /// Of the positive samples, the share predicted as positive.
    pub recall: f64,
}

/// The samples of one score.
struct Step {
    score: f64,
    positives: u64,
    negatives: u64,
}

const MOST: usize = 1 << 24;

impl ScoreCurve {
    /// A curve of all scores, which may be any numbers, logits too.
    pub fn new() -> Self {
        ScoreCurve(Kept::Scores { positives: Vec::new(), negatives: Vec::new() })
    }

    /// A curve of scores from 0 to 1, counted in `bins` bins of equal width: 16 bytes for each bin, for any number of
    /// samples. 0 bins are an error, and so are more than 2^24.
    ///
    /// The curves have a point at the lower edge of each bin, which is exact. The areas differ from those of all scores
    /// only by the order within the bins:
    ///
    /// - the area under the ROC curve by at most the sum of p n / (2 P N) over bins of p positives and n negatives, of
    ///   P and N in all: half the share of pairs of a positive and a negative that are in the same bin;
    /// - the average precision by at most the sum of (p / P) (p + n) / m over the same bins, with m samples in the bin
    ///   and above: the mean over positives of the share that their bin has in all samples from it upwards.
    pub fn binned(bins: usize) -> Result<Self, BoxError> {
        if bins == 0 || bins > MOST {
            return Err(format!("a curve of {bins} bins; give 1 to {MOST}").into());
        }
        Ok(ScoreCurve(Kept::Bins { positives: vec![0; bins], negatives: vec![0; bins] }))
    }

    /// Counts scores, of which those of positive samples have a target of `true`. A NaN is an error, and so is a score
    /// outside of 0 to 1 if they are counted in bins; then nothing of this call is counted.
    pub fn update_scores<T: Copy + Into<f64>>(
        &mut self,
        scores: &[T],
        targets: &[bool],
    ) -> Result<(), BoxError> {
        check_lengths(scores.len(), targets.len())?;
        self.check(scores.iter().map(|&score| score.into()))?;
        self.add_each(scores.iter().map(|&score| score.into()), targets.iter().copied());
        Ok(())
    }

    pub(super) fn check(&self, mut scores: impl Iterator<Item = f64>) -> Result<(), BoxError> {
        let (wrong, why): (fn(&f64) -> bool, _) = match self.0 {
            Kept::Scores { .. } => (|score| score.is_nan(), ""),
            Kept::Bins { .. } => (|score| !(0.0..=1.0).contains(score), "; bins are of scores from 0 to 1"),
        };
        match scores.by_ref().enumerate().find(|(_, score)| wrong(score)) {
            Some((index, score)) => Err(format!("score {index} is {score}{why}").into()),
            None => Ok(()),
        }
    }

    /// The scores are checked.
    pub(super) fn add_each(
        &mut self,
        scores: impl Iterator<Item = f64>,
        targets: impl Iterator<Item = bool>,
    ) {
        for (score, is_positive) in scores.zip(targets) {
            match &mut self.0 {
                // The zero without a sign, so that equal scores have equal bits.
                Kept::Scores { positives, .. } if is_positive => positives.push(score + 0.0),
                Kept::Scores { negatives, .. } => negatives.push(score + 0.0),
                Kept::Bins { positives, negatives } => {
                    let counts = if is_positive { positives } else { negatives };
                    let bin = bin(score, counts.len());
                    counts[bin] += 1;
                }
            }
        }
    }

    /// The number of positive samples.
    pub fn positives(&self) -> u64 {
        match &self.0 {
            Kept::Scores { positives, .. } => positives.len() as u64,
            Kept::Bins { positives, .. } => positives.iter().sum(),
        }
    }

    /// The number of negative samples.
    pub fn negatives(&self) -> u64 {
        match &self.0 {
            Kept::Scores { negatives, .. } => negatives.len() as u64,
            Kept::Bins { negatives, .. } => negatives.iter().sum(),
        }
    }

    /// The area under the ROC curve by trapezoids: the probability that a positive sample has a larger score than a
    /// negative one, with half the probability that they are equal (Hanley and McNeil, "The meaning and use of the area
    /// under a ROC curve", 1982). Returns `None` without a sample of each class.
    pub fn auroc(&self) -> Option<f64> {
        let (mut doubled, mut above) = (0_u128, 0_u128);
        for Step { positives, negatives, .. } in self.steps() {
            doubled += u128::from(negatives) * (2 * above + u128::from(positives));
            above += u128::from(positives);
        }
        let pairs = u128::from(self.positives()) * u128::from(self.negatives());
        (pairs > 0).then(|| doubled as f64 / (2 * pairs) as f64)
    }

    /// The area under the precision-recall curve by steps: the sum over thresholds of the precision times what the
    /// recall rises there; `average_precision_score` of scikit-learn. Returns `None` without a positive sample.
    pub fn average_precision(&self) -> Option<f64> {
        let (mut tp, mut fp) = (0, 0);
        let sum = Sum::of(self.steps().into_iter().map(|Step { positives, negatives, .. }| {
            (tp, fp) = (tp + positives, fp + negatives);
            positives as f64 * (tp as f64 / (tp + fp) as f64)
        }));
        (tp > 0).then(|| sum.value() / tp as f64)
    }

    /// The threshold with the largest F-beta score, and this score; the highest of equal ones. The F1 score has a beta
    /// of 1. Returns `None` without a positive sample, or if beta is negative or not finite.
    pub fn best_f_beta(&self, beta: f64) -> Option<(f64, f64)> {
        let all = self.positives();
        if all == 0 {
            return None;
        }
        let mut best: Option<(f64, f64)> = None;
        for (threshold, tp, fp) in self.thresholds() {
            let score = Outcomes { tp, fp, fn_: all - tp, tn: 0 }.f_beta(beta)?;
            if best.is_none_or(|(_, best)| score > best) {
                best = Some((threshold, score));
            }
        }
        best
    }

    /// The ROC curve from (0, 0), with an infinite threshold, to (1, 1): a point for each score, from the largest to
    /// the smallest, or for each bin that has samples. `roc_curve` of scikit-learn with `drop_intermediate=False`.
    /// Empty without a sample of each class.
    pub fn roc(&self) -> Vec<RocPoint> {
        let (positives, negatives) = (self.positives(), self.negatives());
        let thresholds = [(f64::INFINITY, 0, 0)].into_iter().chain(self.thresholds());
        let point = |(threshold, tp, fp)| {
            let (false_positive_rate, true_positive_rate) = (ratio(fp, negatives)?, ratio(tp, positives)?);
            Some(RocPoint { threshold, false_positive_rate, true_positive_rate })
        };
        thresholds.map_while(point).collect()
    }

    /// The precision-recall curve: a point for each score, from the largest to the smallest, or for each bin that has
    /// samples. That of scikit-learn is in the opposite order and ends at a precision of 1 and a recall of 0. Empty
    /// without a positive sample.
    pub fn precision_recall(&self) -> Vec<PrecisionRecallPoint> {
        let positives = self.positives();
        let point = |(threshold, tp, fp)| {
            let (precision, recall) = (ratio(tp, tp + fp)?, ratio(tp, positives)?);
            Some(PrecisionRecallPoint { threshold, precision, recall })
        };
        self.thresholds().map_while(point).collect()
    }

    /// Each threshold, with the true and the false positives of scores of it or more; the largest first.
    fn thresholds(&self) -> impl Iterator<Item = (f64, u64, u64)> {
        self.steps().into_iter().scan((0, 0), |(tp, fp), step| {
            (*tp, *fp) = (*tp + step.positives, *fp + step.negatives);
            Some((step.score, *tp, *fp))
        })
    }

    /// The samples of each score, the largest first.
    fn steps(&self) -> Vec<Step> {
        match &self.0 {
            Kept::Scores { positives, negatives } => {
                let of = |scores: &[f64], is_positive| {
                    scores.iter().map(move |&score| (score, is_positive)).collect::<Vec<_>>()
                };
                let mut all = of(positives, true);
                all.append(&mut of(negatives, false));
                all.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
                let of_score = |equal: &[(f64, bool)]| {
                    let positives = equal.iter().filter(|(_, is_positive)| *is_positive).count() as u64;
                    let (score, negatives) = (equal[0].0, equal.len() as u64 - positives);
                    Step { score, positives, negatives }
                };
                all.chunk_by(|a, b| a.0 == b.0).map(of_score).collect()
            }
            Kept::Bins { positives, negatives } => {
                let edge = |bin: usize| bin as f64 / positives.len() as f64;
                let counts = positives.iter().zip(negatives).enumerate().rev();
                let steps = counts.map(|(bin, (&positives, &negatives))| Step {
                    score: edge(bin),
                    positives,
                    negatives,
                });
                steps.filter(|step| step.positives + step.negatives > 0).collect()
            }
        }
    }
}

impl Default for ScoreCurve {
    /// Of all scores.
    fn default() -> Self {
        ScoreCurve::new()
    }
}

/// Of scores and targets, `true` for a positive sample.
impl Measure for ScoreCurve {
    type Batch<'b> = (&'b [f64], &'b [bool]);

    /// The [area under the ROC curve](ScoreCurve::auroc).
    type Value = Option<f64>;

    fn update(&mut self, (scores, targets): Self::Batch<'_>) -> Result<(), BoxError> {
        self.update_scores(scores, targets)
    }

    fn compute(&self) -> Option<f64> {
        self.auroc()
    }

    fn merge(&mut self, other: &ScoreCurve) -> Result<(), BoxError> {
        match (&mut self.0, &other.0) {
            (Kept::Scores { positives, negatives }, Kept::Scores { positives: p, negatives: n }) => {
                positives.extend(p);
                negatives.extend(n);
                Ok(())
            }
            (Kept::Bins { positives, negatives }, Kept::Bins { positives: p, negatives: n })
                if positives.len() == p.len() =>
            {
                positives.iter_mut().zip(p).for_each(|(ours, theirs)| *ours += theirs);
                negatives.iter_mut().zip(n).for_each(|(ours, theirs)| *ours += theirs);
                Ok(())
            }
            (ours, theirs) => {
                Err(format!("curves of {} and of {} cannot be merged", ours.told(), theirs.told()).into())
            }
        }
    }

    fn reset(&mut self) {
        match &mut self.0 {
            Kept::Scores { positives, negatives } => [positives, negatives].map(Vec::clear),
            Kept::Bins { positives, negatives } => [positives, negatives].map(|counts| counts.fill(0)),
        };
    }
}

impl Kept {
    /// For a message.
    fn told(&self) -> String {
        match self {
            Kept::Scores { .. } => "all scores".to_owned(),
            Kept::Bins { positives, .. } => format!("{} bins", positives.len()),
        }
    }

    fn read(&self, dict: &StateDict) -> Result<Kept, BoxError> {
        match self {
            Kept::Scores { .. } => {
                let scores = |name: &str| {
                    let array = dict.array(name)?;
                    if array.has_nan() {
                        return Err(BoxError::from(format!(
                            "`{name}` has a score that is NaN; it is damaged"
                        )));
                    }
                    array.to_vec::<f64>()
                };
                Ok(Kept::Scores { positives: scores("positives")?, negatives: scores("negatives")? })
            }
            Kept::Bins { .. } => {
                let counts = |name: &str| dict.array(name)?.to_vec::<u64>();
                let (positives, negatives) = (counts("positives")?, counts("negatives")?);
                let sum = positives.iter().chain(&negatives).try_fold(0_u64, |sum, &n| sum.checked_add(n));
                if sum.is_none_or(|sum| sum > MAX_COUNT) {
                    return Err("bins of more samples than any run counts; they are damaged".into());
                }
                Ok(Kept::Bins { positives, negatives })
            }
        }
    }
}

/// The scores, or the counts of the bins. A state of scores is refused by bins, and one of bins by another number of
/// them.
impl Stateful for ScoreCurve {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let [positives, negatives] = match &self.0 {
            Kept::Scores { positives, negatives } => {
                [positives, negatives].map(|scores| Array::from_slice(scores))
            }
            Kept::Bins { positives, negatives } => {
                [positives, negatives].map(|counts| Array::from_slice(counts))
            }
        };
        let mut dict = StateDict::new();
        dict.insert("positives", positives)?;
        dict.insert("negatives", negatives)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.check_state_dict(dict)?;
        self.0 = self.0.read(dict)?;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        match self.0 {
            Kept::Scores { .. } => self.0.read(dict).map(drop),
            Kept::Bins { .. } => self.state_dict()?.check_same_layout(dict),
        }
    }

    counted_by_each_rank!();
}
