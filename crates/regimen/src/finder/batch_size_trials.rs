//! The trials of a search for a batch size.

use std::fmt;

use crate::text::Count;

/// The batch size that was found, and the trials. As text:
///
/// ```text
/// batch size 8, after 4 trials
///  2  fits
///  4  fits
///  8  fits
/// 16  unit failed in train_step in train at epoch 0 step 0: CUDA out of memory
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchSizeTrials {
    size: usize,
    trials: Vec<BatchSizeTrial>,
}

/// A batch size that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchSizeTrial {
    /// Samples per batch.
    pub size: usize,
    /// The error of the step or of the data that ran out of memory. `None` if the batch fits.
    pub out_of_memory: Option<String>,
}

impl BatchSizeTrials {
    pub(super) fn new(size: usize, trials: Vec<BatchSizeTrial>) -> Self {
        BatchSizeTrials { size, trials }
    }

    /// The largest size that fits, of those that were tried.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The trials, in their order.
    pub fn trials(&self) -> &[BatchSizeTrial] {
        &self.trials
    }
}

impl fmt::Display for BatchSizeTrials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch size {}, after {}", self.size, Count(self.trials.len() as u64, "trial"))?;
        let width = self.trials.iter().map(|trial| trial.size.to_string().len()).max().unwrap_or(0);
        self.trials.iter().try_for_each(|BatchSizeTrial { size, out_of_memory }| {
            write!(f, "\n{size:>width$}  {}", out_of_memory.as_deref().unwrap_or("fits"))
        })
    }
}
