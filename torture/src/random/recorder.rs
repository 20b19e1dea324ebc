//! Callbacks and the saver of a case: the first callback records, the last one fails.

use regimen::callback::{Event, Events};
use regimen::run::{Moment, Restored, Saver, Which};
use regimen::saved::save_parts;
use regimen::state::Phase;
use regimen::{BoxError, Callback, State};

use super::world::{Place, Saved, Shared};

/// Records everything that is compared.
pub(super) struct Recorder(pub(super) Shared);

impl<U> Callback<U> for Recorder {
    fn on_event(&mut self, event: Event, state: &mut State, _: &mut U) -> Result<(), BoxError> {
        let mut world = self.0.lock();
        match event {
            Event::CycleStart | Event::CycleEnd => {
                world.seen.cycles.insert((state.train_progress().epochs, event.to_string()));
                world.cycles.push(event);
            }
            Event::EvalStepEnd if world.by_hand => {
                let last = world.last;
                world.at.pass.iter_mut().for_each(|pass| pass.steps.push(last));
            }
            Event::EvalEpochEnd | Event::PredictEpochEnd if world.by_hand => {
                world.at.pass.iter_mut().for_each(|pass| pass.done = true);
            }
            Event::TrainEpochEnd | Event::EvalEpochEnd => {
                let phase = if event == Event::TrainEpochEnd { Phase::Train } else { Phase::Eval };
                let n = state.progress_of(phase).epochs;
                let value = |metric: &regimen::metric::Metric| {
                    Some((metric.key().name().to_owned(), metric.in_epoch(n)?.to_bits()))
                };
                let values = state.metrics(phase).iter().filter_map(value).collect();
                world.seen.epochs.insert((phase, n), values);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The last callback, so that all others have seen the event in which it fails.
pub(super) struct Trouble(pub(super) Shared);

impl<U> Callback<U> for Trouble {
    fn on_event(&mut self, event: Event, state: &mut State, _: &mut U) -> Result<(), BoxError> {
        self.0.visit_with(Place::Callback(event), Some(state))
    }
}

/// Saves the run in memory, in the middle of calls.
pub(super) struct MemorySaver {
    pub(super) shared: Shared,
    pub(super) every: u64,
    pub(super) events: u64,
}

impl Saver for MemorySaver {
    fn events(&self) -> Events {
        Events::ALL
    }

    fn on_event(&mut self, _: Event, moment: &mut Moment<'_>) -> Result<(), BoxError> {
        self.events += 1;
        if self.events.is_multiple_of(self.every) {
            let (parts, run) = (save_parts(moment.unit())?, moment.run_state()?);
            let mut world = self.shared.lock();
            world.saved = Some(Saved { parts, run, at: world.at.clone() });
        }
        Ok(())
    }

    fn restore(&mut self, _: Which<'_>, _: &mut Moment<'_>) -> Result<Option<Restored>, BoxError> {
        Ok(None)
    }
}
