//! The trait of measures: how good predictions are, counted over the batches of an epoch.

use super::Key;
use crate::data::Rank;
use crate::saved::{StateDict, Stateful};
use crate::{BoxError, State};

/// How good predictions are, counted batch by batch: accuracy, for example.
///
/// The value is that of all samples at once, whatever the sizes of the batches; it is never a mean over batches. A
/// checkpoint in the middle of an epoch holds what was counted so far, and among several
/// [ranks](crate::Run::peers) what each has counted of its shares.
///
/// ```
/// use regimen::metric::{Accuracy, Key, Measure};
/// # use regimen::{BoxError, State};
///
/// const ACCURACY: Key = Key::mean("eval/accuracy");
///
/// # struct Task { accuracy: Accuracy }
/// # impl Task {
/// # fn eval_step(&mut self, predicted: &[usize], targets: &[usize]) -> Result<(), BoxError> {
/// // In a step:
/// self.accuracy.update((predicted, targets))?;
/// # Ok(())
/// # }
/// # fn on_eval_epoch_end(&mut self, state: &mut State) -> Result<(), BoxError> {
/// // At the end of the epoch:
/// self.accuracy.log(ACCURACY, state)?;
/// # Ok(())
/// # }
/// # }
/// ```
///
/// A measure of your own says in its [`Stateful`] that each rank has counts of its own:
///
/// ```
/// use regimen::BoxError;
/// use regimen::data::Rank;
/// use regimen::metric::{Measure, share_counts};
/// use regimen::saved::{StateDict, Stateful};
///
/// #[derive(Clone, Default)]
/// struct Samples(u64);
///
/// impl Measure for Samples {
///     type Batch<'b> = &'b [f64];
///     type Value = Option<f64>;
///
///     fn update(&mut self, batch: &[f64]) -> Result<(), BoxError> {
///         self.0 += batch.len() as u64;
///         Ok(())
///     }
///
///     fn compute(&self) -> Option<f64> {
///         Some(self.0 as f64)
///     }
///
///     fn merge(&mut self, other: &Samples) -> Result<(), BoxError> {
///         self.0 += other.0;
///         Ok(())
///     }
///
///     fn reset(&mut self) {
///         self.0 = 0;
///     }
/// }
///
/// impl Stateful for Samples {
///     fn state_dict(&self) -> Result<StateDict, BoxError> {
///         self.0.state_dict()
///     }
///
///     fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
///         self.0.load_state_dict(dict)
///     }
///
///     fn is_of_rank(&self, _name: &str) -> bool {
///         true
///     }
///
///     fn share(&self, saved: &[StateDict], rank: Rank) -> Result<StateDict, BoxError> {
///         share_counts(self, saved, rank)
///     }
/// }
/// ```
pub trait Measure: Stateful + Clone {
    /// What is counted at once: predictions and targets, as slices for most.
    type Batch<'b>;

    /// The value: an `Option<f64>`, which is `None` if it cannot be computed from what was counted, for most.
    type Value;

    /// Counts a batch. After an error nothing of it is counted.
    fn update(&mut self, batch: Self::Batch<'_>) -> Result<(), BoxError>;

    /// The value of what was counted so far.
    fn compute(&self) -> Self::Value;

    /// Adds what another has counted, of other batches. One with other settings is an error.
    fn merge(&mut self, other: &Self) -> Result<(), BoxError>;

    /// Forgets everything counted.
    fn reset(&mut self);

    /// Merges what all [ranks](crate::Run::peers) have counted, in their order. Every rank calls it, once per epoch,
    /// because a second call counts everything again. Afterwards each rank has what all have counted, until it is
    /// [reset](Measure::reset). Without peers it does nothing.
    fn merge_ranks(&mut self, state: &State) -> Result<(), BoxError> {
        let Some(peers) = state.peers() else { return Ok(()) };
        *self = merged(self, &peers.gather_states(&self.state_dict()?)?)?;
        Ok(())
    }

    /// Logs the value over all ranks, and begins anew: for the hook of a unit at the end of an epoch. Every rank calls
    /// it. A value of `None` is not logged.
    fn log(&mut self, key: Key, state: &mut State) -> Result<(), BoxError>
    where
        Self: Measure<Value = Option<f64>>,
    {
        self.merge_ranks(state)?;
        if let Some(value) = self.compute() {
            // All ranks have the value, so only the first gives it a weight. A mean of equal values may round.
            let weight = if state.rank().is_first() { 1.0 } else { 0.0 };
            state.log(key, value, weight);
        }
        self.reset();
        Ok(())
    }
}

/// What all of these have counted; `measure` has the settings.
fn merged<M: Measure>(measure: &M, saved: &[StateDict]) -> Result<M, BoxError> {
    let mut empty = measure.clone();
    empty.reset();
    let mut all = empty.clone();
    for dict in saved {
        let mut one = empty.clone();
        one.load_state_dict(dict)?;
        all.merge(&one)?;
    }
    Ok(all)
}

/// The state with which `rank` continues a measure that another number of ranks has saved: the first one with
/// everything, and the others with nothing. It is [`Stateful::share`] of a measure.
pub fn share_counts<M: Measure>(measure: &M, saved: &[StateDict], rank: Rank) -> Result<StateDict, BoxError> {
    merged(measure, if rank.is_first() { saved } else { &[] })?.state_dict()
}

/// The two methods of [`Stateful`] about ranks: each has what it has counted.
macro_rules! counted_by_each_rank {
    () => {
        fn is_of_rank(&self, _name: &str) -> bool {
            true
        }

        fn share(
            &self,
            saved: &[$crate::saved::StateDict],
            rank: $crate::data::Rank,
        ) -> Result<$crate::saved::StateDict, $crate::BoxError> {
            $crate::metric::share_counts(self, saved, rank)
        }
    };
}
pub(super) use counted_by_each_rank;
