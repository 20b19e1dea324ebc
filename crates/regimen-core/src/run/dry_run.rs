//! A run whose changes are undone.

use super::Held;
use crate::error::ErrorKind;
use crate::error::guard::{Caught, guard};
use crate::saved::{AppState, keep_parts, load_parts};
use crate::{Error, Run};

impl<U: AppState> Run<'_, U> {
    /// Calls `f` with another run of this unit, and then puts the unit back as it was, also after an error or a
    /// panic: for checks, profiles and searches that must change nothing.
    ///
    /// The other run has not begun. It has the seed, the rank and the peers of this one, no callbacks and no saver, so it logs
    /// and writes nothing unless `f` gives it some. The parts of the unit are copied to the host meanwhile; what a unit
    /// does not list there is not put back. Nor is the generator of a tensor library, which each step seeds anew.
    ///
    /// ```
    /// # use regimen_core::data::Data;
    /// # use regimen_core::run::{Report, Run};
    /// # use regimen_core::saved::AppState;
    /// # use regimen_core::unit::{EvalUnit, TrainUnit};
    /// # use regimen_core::{Error, Fit};
    /// # fn example<U, B>(mut run: Run<'_, U>, train: &impl Data<Batch = B>, valid: &impl Data<Batch = B>) -> Result<(), Error>
    /// # where
    /// #     U: TrainUnit<Batch = B> + EvalUnit<Batch = B> + AppState,
    /// # {
    /// // Three steps of everything, before the long run.
    /// let checked = run.dry_run(|mut dry| dry.fit(train, valid, Fit::epochs(1).steps_per_epoch(3).eval_steps(3)))?;
    /// # let _: Report = checked?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn dry_run<R>(&mut self, f: impl FnOnce(Run<'_, U>) -> R) -> Result<R, Error> {
        let Run { unit, state, .. } = self;
        let unit: &mut U = unit;
        let at = |caught: Caught| caught.at(state, ErrorKind::State);
        let before = guard(|| keep_parts(unit)).map_err(at)?;
        let called = guard(|| {
            let mut dry = Run::of(Held::Borrowed(&mut *unit));
            dry.state.set_seed(state.seed());
            dry.state.set_rank(state.rank());
            state.peers().cloned().into_iter().for_each(|peers| dry.state.set_peers(peers));
            Ok(f(dry))
        });
        guard(|| load_parts(unit, &before)).map_err(at)?;
        called.map_err(at)
    }
}
