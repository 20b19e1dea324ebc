//! The distribution of the parameters, and how much an update changes them.

mod floats;

use std::collections::BTreeMap;
use std::fmt;

pub(super) use self::floats::floats;
use self::floats::squares;
use super::{Event, Events};
use crate::metric::{Histogram, Key, Reduction};
use crate::saved::{AppState, Parts, StateDict, Stateful};
use crate::{BoxError, Callback, State};

/// Logs each parameter at the end of each training epoch: its distribution as the
/// [histogram](State::log_media) `parameters/<part>/<name>`, and its Euclidean norm as the metric
/// `parameter_norm/<part>/<name>`.
///
/// Parameters are the floats of those parts of the unit that are [weights](Stateful::is_weights), running
/// statistics included: `module` of an [`AutoUnit`](crate::AutoUnit), without its average. They are copied to
/// the host, as for a checkpoint.
///
/// ```
/// # use regimen::Run;
/// # use regimen::callback::ParameterMonitor;
/// # use regimen::saved::AppState;
/// # fn example<U: AppState>(run: Run<'_, U>) -> Run<'_, U> {
/// use regimen::engine::any_of;
///
/// run.callback(ParameterMonitor::new().only(any_of(["encoder.*.weight"])).update_ratio())
/// # }
/// ```
pub struct ParameterMonitor {
    only: Box<dyn Fn(&str) -> bool + Send>,
    update_ratio: bool,
    /// The updates and weights before the step under way.
    before: Option<(u64, BTreeMap<String, StateDict>)>,
}

/// The distance that an update moves the parameters, per their norm before it.
const UPDATE_RATIO: Key = Key::mean("train/update_ratio");

impl ParameterMonitor {
    /// Logs every parameter.
    pub fn new() -> Self {
        ParameterMonitor { only: Box::new(|_| true), update_ratio: false, before: None }
    }

    /// Logs only parameters of which `is_logged` is true, by their name in the module. Default: all.
    pub fn only(mut self, is_logged: impl Fn(&str) -> bool + Send + 'static) -> Self {
        self.only = Box::new(is_logged);
        self
    }

    /// Logs the metric `train/update_ratio` too: the Euclidean distance between the parameters after and
    /// before an update, per their norm before it, all together. About 1e-3 is usual.
    ///
    /// It is measured in steps that make an update and whose metrics are read (see
    /// [`State::wants_metrics`]), and copies the parameters to the host twice in each. An update that the end
    /// of an epoch makes, outside of a step, is not measured.
    pub fn update_ratio(mut self) -> Self {
        self.update_ratio = true;
        self
    }

    fn log_epoch(&self, weights: &BTreeMap<String, StateDict>, state: &mut State) {
        for (part, dict) in weights {
            for (name, array) in dict.iter().filter(|(name, _)| (self.only)(name)) {
                let Some(numbers) = floats(array) else { continue };
                let norm = Key::named(format!("parameter_norm/{part}/{name}"), Reduction::Last);
                state.log(norm, squares(&numbers).sqrt(), 1.0);
                state.log_media(format!("parameters/{part}/{name}"), Histogram::of(&numbers));
            }
        }
    }

    /// Returns `None` if the parameters before the update are zero.
    fn ratio(
        &self,
        before: &BTreeMap<String, StateDict>,
        after: &BTreeMap<String, StateDict>,
    ) -> Option<f64> {
        let (mut moved, mut norm) = (0.0, 0.0);
        for (part, before) in before {
            for (name, array) in before.iter().filter(|(name, _)| (self.only)(name)) {
                let now = after.get(part).and_then(|after| after.array(name).ok()).and_then(floats);
                let (Some(mut numbers), Some(now)) = (floats(array), now) else { continue };
                norm += squares(&numbers);
                numbers.iter_mut().zip(now).for_each(|(number, now)| *number -= now);
                moved += squares(&numbers);
            }
        }
        (norm != 0.0).then(|| (moved / norm).sqrt())
    }
}

impl Default for ParameterMonitor {
    fn default() -> Self {
        ParameterMonitor::new()
    }
}

impl<U: AppState + ?Sized> Callback<U> for ParameterMonitor {
    fn events(&self) -> Events {
        let epochs = Events::from(Event::TrainEpochEnd);
        if self.update_ratio { epochs | Event::TrainStepStart | Event::TrainStepEnd } else { epochs }
    }

    fn on_train_step_start(&mut self, state: &mut State, unit: &mut U) -> Result<(), BoxError> {
        self.before = match state.wants_metrics() {
            true => Some((state.train_progress().updates, weights(unit)?)),
            false => None,
        };
        Ok(())
    }

    fn on_train_step_end(&mut self, state: &mut State, unit: &mut U) -> Result<(), BoxError> {
        let before = self.before.take();
        if let Some((_, before)) = before.filter(|(updates, _)| *updates < state.train_progress().updates) {
            let ratio = self.ratio(&before, &weights(unit)?);
            ratio.into_iter().for_each(|ratio| state.log(UPDATE_RATIO, ratio, 1.0));
        }
        Ok(())
    }

    fn on_train_epoch_end(&mut self, state: &mut State, unit: &mut U) -> Result<(), BoxError> {
        self.log_epoch(&weights(unit)?, state);
        Ok(())
    }
}

impl fmt::Debug for ParameterMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParameterMonitor").field("update_ratio", &self.update_ratio).finish_non_exhaustive()
    }
}

/// The parts of `unit` that are weights, copied to the host.
fn weights(unit: &mut (impl AppState + ?Sized)) -> Result<BTreeMap<String, StateDict>, BoxError> {
    struct Weights(BTreeMap<String, StateDict>);

    impl Parts for Weights {
        fn part(&mut self, name: &str, part: &mut dyn Stateful) -> Result<(), BoxError> {
            if part.is_weights() {
                self.0.insert(name.to_owned(), part.state_dict()?);
            }
            Ok(())
        }

        /// An average of the weights.
        fn optional(&mut self, _name: &str, _part: Option<&mut dyn Stateful>) -> Result<(), BoxError> {
            Ok(())
        }
    }

    let mut weights = Weights(BTreeMap::new());
    unit.visit(&mut weights)?;
    Ok(weights.0)
}
