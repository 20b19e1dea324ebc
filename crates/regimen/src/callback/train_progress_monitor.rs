//! The progress of training as metrics.

use super::{Event, Events};
use crate::metric::Key;
use crate::state::Progress;
use crate::{BoxError, Callback, State};

/// Logs the completed epochs, steps, updates and samples of training as the metrics `progress/epochs`,
/// `progress/steps`, `progress/updates` and `progress/samples`.
///
/// They are logged at the end of each step, before which `progress/epochs` does not count the epoch under
/// way, and at the end of each epoch, where it does. The value over an epoch is the newest. Logs and bars
/// have cadences of their own.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TrainProgressMonitor;

impl TrainProgressMonitor {
    /// Logs the progress.
    pub fn new() -> Self {
        TrainProgressMonitor
    }
}

impl<U: ?Sized> Callback<U> for TrainProgressMonitor {
    fn events(&self) -> Events {
        Events::of(&[Event::TrainStepEnd, Event::TrainEpochEnd])
    }

    fn on_event(&mut self, _event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        let Progress { epochs, steps, updates, samples, .. } = state.train_progress();
        for (key, count) in [
            (Key::last("progress/epochs"), epochs),
            (Key::last("progress/steps"), steps),
            (Key::last("progress/updates"), updates),
            (Key::last("progress/samples"), samples),
        ] {
            state.log(key, count as f64, 1.0);
        }
        Ok(())
    }
}
