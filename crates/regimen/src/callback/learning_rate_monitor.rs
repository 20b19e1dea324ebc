//! The learning rates as metrics.

use super::{Event, Events, Every};
use crate::metric::{Key, Reduction};
use crate::schedule::LearningRates;
use crate::{BoxError, Callback, State};

/// Logs the learning rate of each parameter group as the metric `learning_rate/<group>`, for logs,
/// and a scheduled momentum as the metric `momentum`.
///
/// The rate of a training step is logged at its start, if the metrics of the step are read (see
/// [`State::wants_metrics`]): when a log is due, and at the last step of each epoch. A value over an
/// epoch is the newest.
#[derive(Clone, Copy, Debug, Default)]
pub struct LearningRateMonitor {
    every: Every,
}

impl LearningRateMonitor {
    /// Logs the rates at the steps at which others look.
    pub fn new() -> Self {
        LearningRateMonitor::default()
    }

    /// Logs them at this cadence of steps or updates too; never by default.
    pub fn every(mut self, every: Every) -> Self {
        self.every = every;
        self
    }
}

impl<U: LearningRates + ?Sized> Callback<U> for LearningRateMonitor {
    fn events(&self) -> Events {
        Events::of(&[Event::TrainStepStart])
    }

    fn metrics_every(&self) -> Every {
        self.every
    }

    fn on_train_step_start(&mut self, state: &mut State, unit: &mut U) -> Result<(), BoxError> {
        if state.wants_metrics() {
            for (group, rate) in unit.learning_rates() {
                state.log(Key::named(format!("learning_rate/{group}"), Reduction::Last), rate, 1.0);
            }
            if let Some(momentum) = unit.scheduled_momentum() {
                state.log(Key::last("momentum"), momentum, 1.0);
            }
        }
        Ok(())
    }
}
