//! A measure whose value is computed from the counts of another.

use std::fmt;
use std::sync::Arc;

use super::Measure;
use super::measure::counted_by_each_rank;
use crate::BoxError;
use crate::saved::{StateDict, Stateful};

/// One value of a measure that has several: the F1 score of a [`ConfusionMatrix`](super::ConfusionMatrix), for
/// example.
///
/// It counts with the measure, and its value is that of the function. The function is not part of the state, so a state of
/// one score loads into another of the same measure.
///
/// ```
/// use regimen::metric::{Average, ConfusionMatrix, Key, Measure, Score};
/// use regimen::{BoxError, State};
///
/// const F1: Key = Key::mean("eval/f1");
///
/// struct Digits {
///     f1: Score<ConfusionMatrix>,
/// }
///
/// impl Digits {
///     fn new() -> Result<Self, BoxError> {
///         let matrix = ConfusionMatrix::new(10)?;
///         Ok(Digits { f1: Score::new(matrix, |matrix| matrix.f_beta(1.0, Average::Macro)) })
///     }
///
///     // In a step:
///     fn eval_step(&mut self, predicted: &[usize], targets: &[usize]) -> Result<(), BoxError> {
///         self.f1.update((predicted, targets))
///     }
///
///     // At the end of the epoch:
///     fn on_eval_epoch_end(&mut self, state: &mut State) -> Result<(), BoxError> {
///         self.f1.log(F1, state)
///     }
/// }
/// # let mut digits = Digits::new()?;
/// # digits.eval_step(&[1, 1], &[1, 0])?;
/// # assert_eq!(digits.f1.compute(), Some(1.0 / 3.0));
/// # Ok::<(), BoxError>(())
/// ```
#[derive(Clone)]
pub struct Score<M> {
    counts: M,
    of: Arc<Formula<M>>,
}

type Formula<M> = dyn Fn(&M) -> Option<f64> + Send + Sync;

impl<M> Score<M> {
    /// The value that `of` computes of `counts`.
    pub fn new(counts: M, of: impl Fn(&M) -> Option<f64> + Send + Sync + 'static) -> Self {
        Score { counts, of: Arc::new(of) }
    }

    /// The measure that counts.
    pub fn counts(&self) -> &M {
        &self.counts
    }

    /// The measure that counts, for its other ways to count: logits instead of classes, for example.
    pub fn counts_mut(&mut self) -> &mut M {
        &mut self.counts
    }
}

impl<M: fmt::Debug> fmt::Debug for Score<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Score").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl<M: Measure> Measure for Score<M> {
    type Batch<'b> = M::Batch<'b>;
    type Value = Option<f64>;

    fn update(&mut self, batch: Self::Batch<'_>) -> Result<(), BoxError> {
        self.counts.update(batch)
    }

    fn compute(&self) -> Option<f64> {
        (self.of)(&self.counts)
    }

    fn merge(&mut self, other: &Self) -> Result<(), BoxError> {
        self.counts.merge(&other.counts)
    }

    fn reset(&mut self) {
        self.counts.reset();
    }
}

/// The counts; the function is a setting.
impl<M: Measure> Stateful for Score<M> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        self.counts.state_dict()
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.counts.load_state_dict(dict)
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.counts.check_state_dict(dict)
    }

    counted_by_each_rank!();
}
