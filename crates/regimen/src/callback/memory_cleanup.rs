//! Memory that the tensor library keeps, returned to the system.

use super::{Event, Events, Every};
use crate::engine::Engine;
use crate::{AutoUnit, BoxError, Callback, State, Task};

/// Returns memory that an `AutoUnit`'s engine keeps for later allocations to the device and to the system: see
/// [`Engine::release_memory`].
///
/// It is for programs that share a device, and for batches whose sizes differ so much that kept blocks do not
/// fit. The step behind it is slower, because it allocates again. The cadence is by the counts of each phase.
/// For another unit call the engine in a closure of [`Run::on`](crate::Run::on).
///
/// ```
/// # use regimen::engine::Engine;
/// # use regimen::{AutoUnit, Run, Task};
/// use regimen::callback::{Every, MemoryCleanup};
///
/// # fn example<E: Engine, T: Task<E>>(run: Run<'_, AutoUnit<E, T>>) -> Run<'_, AutoUnit<E, T>> {
/// run.callback(MemoryCleanup::every(Every::steps(100)))
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MemoryCleanup {
    every: Every,
}

impl MemoryCleanup {
    /// Cleans up at this cadence, at the end of steps and epochs. A cadence of 0 is an error when the run starts.
    pub fn every(every: Every) -> Self {
        MemoryCleanup { every }
    }
}

impl<E: Engine, T: Task<E>> Callback<AutoUnit<E, T>> for MemoryCleanup {
    fn events(&self) -> Events {
        use Event::*;
        let starts = TrainStart | EvalStart | PredictStart;
        let epochs = TrainEpochEnd | EvalEpochEnd | PredictEpochEnd;
        starts | epochs | TrainStepEnd | EvalStepEnd | PredictStepEnd
    }

    fn on_event(
        &mut self,
        event: Event,
        state: &mut State,
        unit: &mut AutoUnit<E, T>,
    ) -> Result<(), BoxError> {
        match event {
            Event::TrainStart | Event::EvalStart | Event::PredictStart => {
                Ok(self.every.check("`MemoryCleanup::every`")?)
            }
            _ if state.is_due(self.every) => unit.engine_mut().release_memory(),
            _ => Ok(()),
        }
    }
}
