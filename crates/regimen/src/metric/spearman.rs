//! Spearman's correlation: that of ranks.

use super::Measure;
use super::measure::counted_by_each_rank;
use super::numbers::pairs;
use crate::BoxError;
use crate::saved::{Array, StateDict, Stateful};

/// Spearman's rank correlation of predictions and targets, from -1 to 1: Pearson's correlation of their ranks, where
/// equal numbers share the mean of their ranks. `scipy.stats.spearmanr`.
///
/// It keeps every prediction and target, 16 bytes per sample, and sorts them for its value. The sums over ranks are
/// whole numbers, so the value is the same to the last bit in any order and in any parts.
///
/// ```
/// use regimen::metric::{Measure, Spearman};
///
/// let mut spearman = Spearman::new();
/// spearman.update((&[0.1, 0.2, 0.9, 0.3], &[1.0, 10.0, 100.0, 1000.0]))?;
/// assert_eq!(spearman.compute(), Some(0.8));
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spearman {
    predictions: Vec<f64>,
    targets: Vec<f64>,
}

impl Spearman {
    /// One that has counted nothing.
    pub fn new() -> Self {
        Spearman::default()
    }

    /// Counts numbers of type `f32` or `f64`, as [`update`](Measure::update) does.
    pub fn update_values<T: Copy + Into<f64>>(
        &mut self,
        predictions: &[T],
        targets: &[T],
    ) -> Result<(), BoxError> {
        for (prediction, target) in pairs(predictions, targets)? {
            self.predictions.push(prediction);
            self.targets.push(target);
        }
        Ok(())
    }
}

/// Twice the distance of each number's rank from the mean rank, a whole number.
fn ranks(numbers: &[f64]) -> Vec<i128> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_unstable_by(|&a, &b| numbers[a].total_cmp(&numbers[b]));
    let (mut ranks, mut before) = (vec![0; numbers.len()], 0);
    for equal in order.chunk_by(|&a, &b| numbers[a] == numbers[b]) {
        let rank = (2 * before + equal.len()) as i128 - numbers.len() as i128;
        equal.iter().for_each(|&index| ranks[index] = rank);
        before += equal.len();
    }
    ranks
}

/// Of predictions and targets, as many of each. A number that is infinite or NaN is an error.
impl Measure for Spearman {
    type Batch<'b> = (&'b [f64], &'b [f64]);

    /// Returns `None` if all predictions are equal, or all targets, as those of one sample are.
    type Value = Option<f64>;

    fn update(&mut self, (predictions, targets): Self::Batch<'_>) -> Result<(), BoxError> {
        self.update_values(predictions, targets)
    }

    fn compute(&self) -> Option<f64> {
        let (predictions, targets) = (ranks(&self.predictions), ranks(&self.targets));
        let product = |a: &[i128], b: &[i128]| a.iter().zip(b).map(|(a, b)| a * b).sum::<i128>() as f64;
        let squares = product(&predictions, &predictions) * product(&targets, &targets);
        (squares > 0.0).then(|| (product(&predictions, &targets) / squares.sqrt()).clamp(-1.0, 1.0))
    }

    fn merge(&mut self, other: &Spearman) -> Result<(), BoxError> {
        self.predictions.extend(&other.predictions);
        self.targets.extend(&other.targets);
        Ok(())
    }

    fn reset(&mut self) {
        *self = Spearman::default();
    }
}

/// Every prediction and target.
impl Stateful for Spearman {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("predictions", Array::from_slice(&self.predictions))?;
        dict.insert("targets", Array::from_slice(&self.targets))?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let (predictions, targets) = (dict.array("predictions")?.to_vec()?, dict.array("targets")?.to_vec()?);
        let mut loaded = Spearman::new();
        loaded.update((&predictions, &targets))?;
        *self = loaded;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        Spearman::new().load_state_dict(dict)
    }

    counted_by_each_rank!();
}
