//! The same training with several seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::SeedResults;
use crate::BoxError;
use crate::error::panic_text;
use crate::metric::Key;

/// Trains with one seed after another, to tell how much a result depends on it.
///
/// A seed that fails or panics is told, and the others go on.
///
/// ```
/// use regimen::finder::Seeds;
/// # use regimen::metric::Key;
/// # use regimen::{BoxError, State, unit::{EvalUnit, TrainUnit}};
/// # const LOSS: Key = Key::mean("eval/loss");
/// # struct Unit;
/// # impl Unit { fn new(_seed: u64) -> Self { Unit } }
/// # impl TrainUnit for Unit {
/// #     type Batch = u64;
/// #     fn train_step(&mut self, _: &mut State, _: u64) -> Result<(), BoxError> { Ok(()) }
/// # }
/// # impl EvalUnit for Unit {
/// #     type Batch = u64;
/// #     fn eval_step(&mut self, state: &mut State, _: u64) -> Result<(), BoxError> {
/// #         let seed = state.seed() as f64;
/// #         Ok(state.log(LOSS, seed, 1.0))
/// #     }
/// # }
/// # let (train, valid) = ([1], [1]);
/// use regimen::{Fit, Run};
///
/// let results = Seeds::new([1, 2, 3]).run(|seed| {
///     let mut unit = Unit::new(seed); // with initial weights of this seed
///     let report = Run::new(&mut unit).seed(seed).fit(&train, &valid, Fit::epochs(2))?;
///     Ok(report.metrics())
/// });
/// let loss = results.metric(LOSS).ok_or("no loss")?;
/// assert_eq!((loss.mean(), loss.deviation()), (Some(2.0), Some(1.0)));
/// println!("{results}");
/// # Ok::<(), BoxError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Seeds {
    seeds: Vec<u64>,
}

impl Seeds {
    /// These seeds, in this order.
    pub fn new(seeds: impl IntoIterator<Item = u64>) -> Self {
        Seeds { seeds: seeds.into_iter().collect() }
    }

    /// Calls `train` with each seed for the metrics of its training, such as those of a
    /// [report](crate::run::Report::metrics).
    pub fn run(self, mut train: impl FnMut(u64) -> Result<Vec<(Key, f64)>, BoxError>) -> SeedResults {
        let mut results = Vec::new();
        for seed in self.seeds {
            let trained = catch_unwind(AssertUnwindSafe(|| train(seed)));
            let trained =
                trained.unwrap_or_else(|panic| Err(format!("panicked: {}", panic_text(&*panic)).into()));
            results.push((seed, trained));
        }
        SeedResults::new(results)
    }
}
