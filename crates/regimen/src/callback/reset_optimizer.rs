//! Resets of the optimizer.

use super::{Event, Events};
use crate::engine::{Engine, Part};
use crate::saved::StateDict;
use crate::{AutoUnit, BoxError, Callback, State, Task};

/// Empties the state of the optimizer, such as momentum and second moments, at the end of some training epochs.
/// Rates, weights and progress stay.
///
/// ```
/// # use regimen::callback::ResetOptimizer;
/// # use regimen::engine::Engine;
/// # use regimen::{AutoUnit, Run, Task};
/// # fn example<'a, E: Engine, T: Task<E>>(run: Run<'a, AutoUnit<E, T>>) -> Run<'a, AutoUnit<E, T>> {
/// run.callback(ResetOptimizer::after_epochs([10, 20]))
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ResetOptimizer {
    epochs: Vec<u64>,
}

impl ResetOptimizer {
    /// After each of these training epochs, from 1.
    pub fn after_epochs(epochs: impl Into<Vec<u64>>) -> Self {
        ResetOptimizer { epochs: epochs.into() }
    }
}

impl<E: Engine, T: Task<E>> Callback<AutoUnit<E, T>> for ResetOptimizer {
    fn events(&self) -> Events {
        Events::of(&[Event::TrainEpochEnd])
    }

    fn on_event(&mut self, _: Event, state: &mut State, unit: &mut AutoUnit<E, T>) -> Result<(), BoxError> {
        let epoch = state.train_progress().epochs;
        if self.epochs.contains(&epoch) {
            unit.engine_mut().load_state(Part::Optimizer, &StateDict::new())?;
            state.notify(format!("the state of the optimizer is emptied after epoch {epoch}"));
        }
        Ok(())
    }
}
