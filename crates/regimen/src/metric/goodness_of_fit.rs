//! The share of the targets' variance that predictions explain, and the correlation of both.

use super::Measure;
use super::kind::{check_kind, check_same_kind};
use super::measure::counted_by_each_rank;
use super::moments::Moments;
use super::numbers::pairs;
use crate::BoxError;
use crate::saved::{Array, StateDict, Stateful};

/// How much of the variation of the targets is in the predictions, in one of three senses.
///
/// All are 1 for predictions that equal the targets. Targets that are all equal, or a single sample, have no
/// variation, and give no value; scikit-learn gives 0 or 1 for equal targets.
///
/// Means and centred products are kept, and merged by the formula of Chan, Golub and LeVeque (1983). The error of a
/// value v from k batches is about k c 2^-53 (1 + |v|). The condition c is the root of 1 + mean^2 / variance, of the
/// targets or of the predictions, the larger of both. Deviations beyond 1e150 overflow, and give NaN. Those below
/// 1e-160 count as none.
///
/// ```
/// use regimen::metric::{GoodnessOfFit, Measure};
///
/// let mut r2 = GoodnessOfFit::r2();
/// r2.update((&[1.0, 2.0, 4.0, 5.0], &[1.0, 3.0, 3.0, 5.0]))?;
/// assert_eq!(r2.compute(), Some(1.0 - 2.0 / 8.0));
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GoodnessOfFit {
    kind: Kind,
    /// Of pairs of a target and, for Pearson's correlation, its prediction; else the residual.
    moments: Moments<2>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    R2,
    ExplainedVariance,
    Pearson,
}

impl GoodnessOfFit {
    /// The coefficient of determination, R^2: 1 - the sum of (target - prediction)^2 / the sum of (target - mean of
    /// targets)^2. It is 0 for predictions no better than the mean of the targets, and negative for worse ones.
    /// `r2_score` in scikit-learn.
    pub fn r2() -> Self {
        GoodnessOfFit { kind: Kind::R2, moments: Moments::EMPTY }
    }

    /// The explained variance: 1 - variance of (target - prediction) / variance of the targets. It is
    /// [`r2`](GoodnessOfFit::r2) but for an offset common to all predictions. `explained_variance_score` in
    /// scikit-learn.
    pub fn explained_variance() -> Self {
        GoodnessOfFit { kind: Kind::ExplainedVariance, moments: Moments::EMPTY }
    }

    /// Pearson's correlation of predictions and targets, from -1 to 1: their covariance, divided by the deviations of
    /// both. Returns `None` also if all predictions are equal. `scipy.stats.pearsonr`.
    pub fn pearson() -> Self {
        GoodnessOfFit { kind: Kind::Pearson, moments: Moments::EMPTY }
    }

    /// Counts numbers of type `f32` or `f64`, as [`update`](Measure::update) does.
    pub fn update_values<T: Copy + Into<f64>>(
        &mut self,
        predictions: &[T],
        targets: &[T],
    ) -> Result<(), BoxError> {
        let of_residuals = self.kind != Kind::Pearson;
        let vector = |(prediction, target): (f64, f64)| {
            [target, if of_residuals { target - prediction } else { prediction }]
        };
        self.moments.merge(&Moments::of(pairs(predictions, targets)?.map(vector)));
        Ok(())
    }

    fn name(&self) -> &'static str {
        match self.kind {
            Kind::R2 => "r2",
            Kind::ExplainedVariance => "explained_variance",
            Kind::Pearson => "pearson",
        }
    }
}

/// Of predictions and targets, as many of each. A number that is infinite or NaN is an error.
impl Measure for GoodnessOfFit {
    type Batch<'b> = (&'b [f64], &'b [f64]);

    /// Returns `None` if the targets do not vary.
    type Value = Option<f64>;

    fn update(&mut self, (predictions, targets): Self::Batch<'_>) -> Result<(), BoxError> {
        self.update_values(predictions, targets)
    }

    fn compute(&self) -> Option<f64> {
        let Moments { count, means: [_, mean], products: [[targets, both], [_, others]] } = self.moments;
        let ratio = |part: f64, whole: f64| match whole.is_finite() {
            true => (whole > 0.0).then(|| part / whole),
            false => Some(f64::NAN),
        };
        match self.kind {
            Kind::R2 => ratio(others + count as f64 * mean * mean, targets).map(|share| 1.0 - share),
            Kind::ExplainedVariance => ratio(others, targets).map(|share| 1.0 - share),
            // The product of both roots: that of both sums may overflow.
            Kind::Pearson => ratio(both, targets.sqrt() * others.sqrt()).map(|value| value.clamp(-1.0, 1.0)),
        }
    }

    fn merge(&mut self, other: &GoodnessOfFit) -> Result<(), BoxError> {
        check_same_kind(self.name(), other.name())?;
        self.moments.merge(&other.moments);
        Ok(())
    }

    fn reset(&mut self) {
        self.moments = Moments::EMPTY;
    }
}

/// The count, means and centred products; one of another kind is refused.
impl Stateful for GoodnessOfFit {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("kind", Array::from_text(self.name()))?;
        self.moments.insert_into(&mut dict)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        check_kind(dict, self.name())?;
        self.moments = Moments::from_state(dict)?;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        let mut loaded = *self;
        loaded.load_state_dict(dict)
    }

    counted_by_each_rank!();
}
