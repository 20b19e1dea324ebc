//! The state at the start, to begin anew from.

use std::collections::BTreeMap;

use super::FitLoop;
use crate::engine::{Engine, ToDevice};
use crate::saved::{StateDict, load_parts, save_parts};
use crate::{BoxError, Error};

/// The state at the start.
pub(super) enum Initial {
    /// It is not kept.
    Unwanted,
    /// It is kept by the first call that changes something.
    Wanted,
    Kept {
        parts: BTreeMap<String, StateDict>,
        run: StateDict,
    },
}

impl<'a, E: Engine, X, Y, O> FitLoop<'a, E, X, Y, O>
where
    X: ToDevice<E::Device>,
    Y: ToDevice<E::Device>,
{
    /// Keeps a copy of the state at the start, for [`reset`](FitLoop::reset). It is made on the host by the first
    /// [`fit`](FitLoop::fit), load or restore, and takes the memory of the weights once more. Default: not kept.
    pub fn keep_initial(self) -> Self {
        FitLoop { initial: Initial::Wanted, ..self }
    }

    /// Puts everything back as it was at the start, to the last bit: weights, optimizer, progress, best weights, records
    /// and final stop. It is an error without [`keep_initial`](FitLoop::keep_initial).
    ///
    /// Stages keep variables of their own, and [frozen groups and rates](FitLoop::groups) stay as they are set.
    pub fn reset(&mut self) -> Result<(), Error> {
        match &self.initial {
            Initial::Unwanted => {
                let cause = "`reset`: the state at the start was not kept; ask for it with `keep_initial()`";
                return Err(Error::config(cause));
            }
            Initial::Wanted => {}
            Initial::Kept { parts, run } => {
                let put_back = |loop_run: &mut crate::Run<'a, _>| -> Result<(), BoxError> {
                    load_parts(loop_run.unit_mut(), parts)?;
                    loop_run.load_run_state(run)
                };
                put_back(self.runner.run()).map_err(Error::config)?;
            }
        }
        self.configure()
    }

    /// Keeps the state at the start, if it is wanted and this is the first change.
    pub(super) fn keep_initial_state(&mut self) -> Result<(), Error> {
        if let Initial::Wanted = self.initial {
            let run = self.runner.run();
            let kept = save_parts(run.unit_mut()).and_then(|parts| Ok((parts, run.run_state()?)));
            let (parts, run) = kept.map_err(Error::config)?;
            self.initial = Initial::Kept { parts, run };
        }
        Ok(())
    }
}
