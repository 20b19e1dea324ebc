//! The settings of an [`AutoUnit`], and the methods that set them.

use super::AutoUnit;
use crate::{BoxError, Engine, Schedule, State, Task};

/// What to do when a loss or a gradient is not finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// The step is an error, and the window's gradients are discarded. The loss is looked at, and
    /// the norm where clipping takes one; a gradient alone that is not finite is met in the next
    /// step's loss. The default.
    #[default]
    Error,
    /// The window's update is skipped: parameters, optimizer and schedule stay as they are, and it
    /// is counted in [`AutoUnit::skipped`]. Loss and gradients are looked at.
    Skip,
    /// Nothing is looked at.
    Ignore,
}

impl<E: Engine, T: Task<E>> AutoUnit<E, T> {
    /// The learning rate as a function of completed updates: a number, a closure, or a schedule.
    pub fn learning_rate(mut self, schedule: impl Schedule + 'static) -> Self {
        self.settings.rate = Rate::ByUpdate(Box::new(schedule));
        self
    }

    /// The learning rate as a function of completed epochs.
    pub fn learning_rate_by_epoch(mut self, schedule: impl Schedule + 'static) -> Self {
        self.settings.rate = Rate::ByEpoch(Box::new(schedule));
        self
    }

    /// The learning rate of one of the engine's parameter groups, by completed updates, in place
    /// of the common one. A group that the engine does not have is an error when training starts.
    pub fn group_learning_rate(
        mut self,
        group: impl Into<String>,
        schedule: impl Schedule + 'static,
    ) -> Self {
        self.settings.group_rates.push((group.into(), Rate::ByUpdate(Box::new(schedule))));
        self
    }

    /// Makes one update of `n` steps: the gradient is that of the mean over all their samples or
    /// tokens. 1 by default; 0 is an error when training starts.
    pub fn accumulate(mut self, n: u64) -> Self {
        self.settings.accumulate = n;
        self
    }

    /// Scales the gradient down to a Euclidean norm of at most `norm` over all parameters. Not
    /// positive, or not a number, is an error when training starts.
    pub fn clip_norm(mut self, norm: f64) -> Self {
        self.settings.clip_norm = Some(norm);
        self
    }

    /// Clamps each element of the gradient to `-limit..=limit`, after clipping by norm. Not
    /// positive, or not a number, is an error when training starts.
    pub fn clip_value(mut self, limit: f64) -> Self {
        self.settings.clip_value = Some(limit);
        self
    }

    /// What to do when a loss or a gradient is not finite. [`NonFinite::Error`] by default.
    pub fn non_finite(mut self, policy: NonFinite) -> Self {
        self.settings.non_finite = policy;
        self
    }

    /// Calls `hook` after each backward: the held gradients are the window's so far, each
    /// micro-batch times its weight.
    pub fn after_backward(
        mut self,
        hook: impl FnMut(&mut E, &mut State) -> Result<(), BoxError> + Send + 'static,
    ) -> Self {
        self.settings.after_backward = Some(Box::new(hook));
        self
    }

    /// Calls `hook` before each update: the held gradients are the mean over the window, not yet
    /// clipped. What the hook makes of them is clipped and used.
    pub fn before_update(
        mut self,
        hook: impl FnMut(&mut E, &mut State) -> Result<(), BoxError> + Send + 'static,
    ) -> Self {
        self.settings.before_update = Some(Box::new(hook));
        self
    }
}

/// What a schedule counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) updates: u64,
    pub(super) epochs: u64,
}

/// A hook on the held gradients.
type GradientHook<E> = Box<dyn FnMut(&mut E, &mut State) -> Result<(), BoxError> + Send>;

/// How an [`AutoUnit`] was told to train.
pub(super) struct Settings<E> {
    pub(super) rate: Rate,
    pub(super) group_rates: Vec<(String, Rate)>,
    pub(super) accumulate: u64,
    pub(super) clip_norm: Option<f64>,
    pub(super) clip_value: Option<f64>,
    pub(super) non_finite: NonFinite,
    pub(super) after_backward: Option<GradientHook<E>>,
    pub(super) before_update: Option<GradientHook<E>>,
}

/// A schedule, and what it counts.
pub(super) enum Rate {
    ByUpdate(Box<dyn Schedule>),
    ByEpoch(Box<dyn Schedule>),
}

impl Rate {
    pub(super) fn at(&self, count: Count) -> f64 {
        match self {
            Rate::ByUpdate(schedule) => schedule.rate(count.updates),
            Rate::ByEpoch(schedule) => schedule.rate(count.epochs),
        }
    }
}

impl<E> Default for Settings<E> {
    fn default() -> Self {
        Settings {
            rate: Rate::ByUpdate(Box::new(1e-3)),
            group_rates: Vec::new(),
            accumulate: 1,
            clip_norm: None,
            clip_value: None,
            non_finite: NonFinite::Error,
            after_backward: None,
            before_update: None,
        }
    }
}

impl<E> Settings<E> {
    pub(super) fn rate_of(&self, group: &str) -> &Rate {
        self.group_rates.iter().rev().find(|(name, _)| name == group).map_or(&self.rate, |(_, rate)| rate)
    }

    /// Refuses settings that cannot be used.
    pub(super) fn check(&self, groups: &[String]) -> Result<(), BoxError> {
        let Settings { accumulate, clip_norm, clip_value, group_rates, .. } = self;
        if *accumulate == 0 {
            return Err("`accumulate`: a window of 0 steps never ends; give 1 or more".into());
        }
        for (name, limit) in [("clip_norm", clip_norm), ("clip_value", clip_value)] {
            if limit.is_some_and(|limit| limit.is_nan() || limit <= 0.0) {
                return Err(format!("`{name}`: a limit must be greater than 0").into());
            }
        }
        match group_rates.iter().find(|(group, _)| !groups.contains(group)) {
            None => Ok(()),
            Some((group, _)) => {
                let groups = groups.join(", ");
                Err(format!("`group_learning_rate`: there is no group `{group}`; the engine has: {groups}")
                    .into())
            }
        }
    }
}
