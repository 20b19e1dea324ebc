//! The axis of a log.

use crate::state::Progress;

/// The count that a [`MetricLog`](super::MetricLog) writes as the `step` of its records: its horizontal axis.
///
/// It is a count of the training, in the records of every phase, so that all metrics meet on one axis. It is saved
/// with the run: a restored run goes on with the same numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Clock {
    /// Completed training steps.
    #[default]
    Steps,
    /// Optimizer steps of the training. Steps of one accumulation window have the same number.
    Updates,
    /// Samples of the training, as the data counts them. Runs with different batch sizes are compared by it.
    Samples,
    /// Completed training epochs. All steps of an epoch have the same number, so it is for logs of
    /// [epochs alone](crate::callback::Every::epochs).
    Epochs,
}

impl Clock {
    /// The count in the progress of the training.
    pub(super) fn count(self, train: Progress) -> u64 {
        match self {
            Clock::Steps => train.steps,
            Clock::Updates => train.updates,
            Clock::Samples => train.samples,
            Clock::Epochs => train.epochs,
        }
    }
}
