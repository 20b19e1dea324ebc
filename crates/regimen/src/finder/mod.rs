//! Finders of settings before a long run: a learning rate, a batch size, the spread over seeds.
//!
//! Each tries what it needs in [dry runs](crate::Run::dry_run), so the run afterwards has the same bits as one without
//! it.

mod batch_size_finder;
mod batch_size_trials;
mod learning_rate_curve;
mod learning_rate_finder;
mod seed_results;
mod seeds;

pub use self::batch_size_finder::BatchSizeFinder;
pub use self::batch_size_trials::{BatchSizeTrial, BatchSizeTrials};
pub use self::learning_rate_curve::{LearningRateCurve, LearningRatePoint};
pub use self::learning_rate_finder::LearningRateFinder;
pub use self::seed_results::{SeedMetric, SeedResults};
pub use self::seeds::Seeds;

use crate::{Error, Run};

/// Refuses a run of several ranks: a step that fails on one of them ends the training of all.
fn refuse_ranks<U>(finder: &str, run: &Run<'_, U>) -> Result<(), Error> {
    match run.state().peers().is_some() || run.state().rank().count > 1 {
        true => Err(Error::config(format!(
            "`{finder}`: not among several ranks; find it in a run of one, and give all ranks the result"
        ))),
        false => Ok(()),
    }
}
