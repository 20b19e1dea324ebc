//! The norm and the distribution of the gradients.

use std::fmt;

use super::parameter_monitor::floats;
use crate::engine::{Engine, Part};
use crate::metric::{Histogram, Key};
use crate::{BoxError, State};

/// Logs the gradients of updates: their Euclidean norm, all together and before they are clipped, as the
/// metric `train/gradient_norm`, and the distribution of each as the [histogram](State::log_media)
/// `gradients/<name>`.
///
/// Gradients exist only within a step, so this is a hook of an [`AutoUnit`](crate::AutoUnit) and no
/// callback:
///
/// ```
/// # use regimen::{AutoUnit, Task};
/// # use regimen::engine::Engine;
/// use regimen::callback::GradientMonitor;
///
/// # fn example<E: Engine, T: Task<E>>(unit: AutoUnit<E, T>) -> AutoUnit<E, T> {
/// unit.before_update(GradientMonitor::new().into_hook())
/// # }
/// ```
///
/// The norm is logged in steps whose metrics are read (see [`State::wants_metrics`]), and waits for the
/// device there. Histograms are logged at the last step of each epoch, and copy the gradients to the host.
///
/// [Sharded](crate::AutoUnit::shard_gradients) gradients are an error of the first update: a rank has not all of them.
pub struct GradientMonitor {
    only: Box<dyn Fn(&str) -> bool + Send>,
}

const GRADIENT_NORM: Key = Key::mean("train/gradient_norm");

impl GradientMonitor {
    /// Logs the norm, and every gradient.
    pub fn new() -> Self {
        GradientMonitor { only: Box::new(|_| true) }
    }

    /// Logs only histograms of parameters of which `is_logged` is true, by their name. Default: all. The
    /// norm is over all.
    pub fn only(mut self, is_logged: impl Fn(&str) -> bool + Send + 'static) -> Self {
        self.only = Box::new(is_logged);
        self
    }

    /// The hook, for [`AutoUnit::before_update`](crate::AutoUnit::before_update).
    pub fn into_hook<E: Engine>(
        self,
    ) -> impl FnMut(&mut E, &mut State) -> Result<(), BoxError> + Send + 'static {
        move |engine, state| {
            if state.has_share_of_gradients() {
                return Err("`GradientMonitor` needs the gradients of all ranks, and this one holds a share; leave it or \
                            `shard_gradients` out"
                    .into());
            }
            if state.wants_metrics() {
                state.log(GRADIENT_NORM, engine.gradient_norm()?, 1.0);
            }
            if state.last_in_epoch() {
                let gradients = engine.state(Part::Gradients)?;
                for (name, array) in gradients.iter().filter(|(name, _)| (self.only)(name)) {
                    if let Some(numbers) = floats(array) {
                        state.log_media(format!("gradients/{name}"), Histogram::of(&numbers));
                    }
                }
            }
            Ok(())
        }
    }
}

impl Default for GradientMonitor {
    fn default() -> Self {
        GradientMonitor::new()
    }
}

impl fmt::Debug for GradientMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GradientMonitor").finish_non_exhaustive()
    }
}
