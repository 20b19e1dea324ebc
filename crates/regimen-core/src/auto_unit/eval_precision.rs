//! Evaluation in another precision than that of training.

use super::settings::Settings;
use crate::BoxError;
use crate::engine::{Engine, Precision};

impl<E> Settings<E> {
    /// The precision of evaluation and that of training, if they differ.
    fn other_precision(&self) -> Option<(Precision, Precision)> {
        self.eval_precision.zip(self.precision).filter(|(eval, train)| eval != train)
    }

    /// Runs `f` on `engine` in the precision of evaluation. That of training is set again when `f` returns or
    /// panics.
    pub(super) fn in_eval_precision<R>(
        &self,
        engine: &mut E,
        f: impl FnOnce(&mut E) -> R,
    ) -> Result<R, BoxError>
    where
        E: Engine,
    {
        struct Back<'e, E: Engine>(&'e mut E, Precision);
        impl<E: Engine> Drop for Back<'_, E> {
            fn drop(&mut self) {
                // It was not refused when the run started.
                let _ = self.0.set_precision(self.1);
            }
        }
        let Some((eval, train)) = self.other_precision() else { return Ok(f(engine)) };
        engine.set_precision(eval)?;
        let back = Back(engine, train);
        Ok(f(&mut *back.0))
    }
}
