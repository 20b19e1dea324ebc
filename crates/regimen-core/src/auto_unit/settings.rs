//! The settings of an [`AutoUnit`], and the methods that set them.

use super::averaging::Average;
use super::{AutoUnit, Averaging, GradientScaler, Plateau};
use crate::engine::{Engine, Precision, Value};
use crate::schedule::Schedule;
use crate::{BoxError, State, Task};

/// What to do when a loss or a gradient is not finite.
///
/// A device may compute beside the host. Then reading a number waits for all that the device has still to
/// do, so the engine leaves losses and norms there ([`Engine::detach`]), and each policy says what it reads
/// in a step. On the CPU they are read at once, which costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// The step is an error. The loss is looked at, the norm where clipping takes one, and the weights
    /// when training ends; a gradient alone that is not finite is met in the next step's loss. The
    /// default.
    ///
    /// A number that is left on the device is not read for it. If it is not finite, the device leaves out
    /// the update. The error comes when the number is read, at most 64 steps later, and names its step. Until
    /// then step and update are counted, running statistics follow the batch, and nothing is saved. The
    /// error loses the gradients of the window that is under way. If the engine cannot leave out an
    /// update on the device ([`Engine::skip_unless_finite`]), the number is read in its own step.
    #[default]
    Error,
    /// The window's update is skipped: parameters, optimizer and schedule stay as they are, and the
    /// step is not in the epoch's mean. Skipped updates are counted in [`AutoUnit::skipped`] and logged
    /// as [`TRAIN_SKIPPED`](super::TRAIN_SKIPPED); too many in a row are an error, see
    /// [`AutoUnit::skip_limit`]. Loss and gradients are looked at, so both are read in each step; a
    /// gradient too large for its norm counts as not finite.
    Skip,
    /// Nothing is looked at, and nothing is read.
    Ignore,
}

/// What to do when no gradient reaches a parameter that is to be trained: the loss does not depend on
/// it, or a detached tensor cuts the graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unreached {
    /// It is told once as a [notice](crate::callback::Event::Notice), at the first update. The default.
    #[default]
    Notice,
    /// The first update is an error.
    Error,
    /// Nothing is looked at.
    Ignore,
}

/// When a frozen group of parameters is trained after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thaw {
    /// Not in this run.
    Never,
    /// When that many epochs are complete.
    AtEpoch(u64),
    /// When that many updates are complete.
    AtUpdate(u64),
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

    /// Multiplies the learning rate of one of the engine's parameter groups, whether it is the
    /// common one or its own: layer-wise rates are a factor for each layer. A group that the engine
    /// does not have, and a factor that is negative or no number, are errors when training starts.
    pub fn scale_learning_rate(mut self, group: impl Into<String>, factor: f64) -> Self {
        self.settings.group_factors.push((group.into(), factor));
        self
    }

    /// Lets all learning rates fall when a metric no longer improves. Where the rates stand is
    /// saved. Settings that make no sense are errors when training starts.
    pub fn reduce_on_plateau(mut self, plateau: Plateau) -> Self {
        self.plateau = Some(plateau);
        self
    }

    /// Freezes one of the engine's parameter groups: it is not trained, and its gradient not
    /// computed, until it thaws. A group that the engine does not have is an error when training
    /// starts, and all groups frozen at once are one in the step where that is so.
    ///
    /// ```
    /// # use regimen_core::{AutoUnit, Task};
    /// # use regimen_core::engine::Engine;
    /// # use regimen_core::auto_unit::Thaw;
    /// # fn example<E: Engine, T: Task<E>>(unit: AutoUnit<E, T>) -> AutoUnit<E, T> {
    /// // The head alone at first, then the upper half with it, and never the embedding.
    /// unit.freeze("embedding", Thaw::Never)
    ///     .freeze("lower", Thaw::AtEpoch(4))
    ///     .freeze("upper", Thaw::AtEpoch(2))
    /// # }
    /// ```
    pub fn freeze(mut self, group: impl Into<String>, until: Thaw) -> Self {
        self.settings.frozen.push((group.into(), until));
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

    /// How many updates in a row may be skipped under [`NonFinite::Skip`]; one more is an error. A
    /// tenth of them is a notice. 100 by default.
    pub fn skip_limit(mut self, updates: u64) -> Self {
        self.settings.skip_limit = updates;
        self
    }

    /// What to do when no gradient reaches a parameter. [`Unreached::Notice`] by default.
    pub fn unreached(mut self, policy: Unreached) -> Self {
        self.settings.unreached = policy;
        self
    }

    /// Holds the running statistics of frozen groups as they are. Without it they follow the batches
    /// of the training, also in a group that is frozen: only its parameters are not trained.
    pub fn hold_frozen_statistics(mut self) -> Self {
        self.settings.holds_statistics = true;
        self
    }

    /// In which type the module computes, in training, evaluation and prediction. An engine that
    /// cannot is an error when the run starts. Without this it computes as it did before.
    ///
    /// With [`Precision::F16`] losses are scaled: an update whose gradient overflows is skipped as
    /// under [`NonFinite::Skip`], whatever the policy is. So each update reads whether its gradient is finite.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.settings.precision = Some(precision);
        self
    }

    /// By which rules losses are scaled, in place of PyTorch's. It is used for
    /// [`Precision::F16`] only. Rules that make no sense are errors when training starts.
    pub fn gradient_scaler(mut self, scaler: GradientScaler) -> Self {
        self.scaler = scaler;
        self
    }

    /// Looks for the first number that is not finite, and names what it is in: the loss is read
    /// before backward, gradients are looked at after each backward, parameters and buffers after
    /// each update, and the outputs inside of the module that are given to an engine's `watch`
    /// in each step. What is found is an error, whatever [`NonFinite`] says; of gradients only where
    /// losses are not scaled. On libtorch the operation whose gradient became NaN is named as well.
    ///
    /// It reads the loss and copies parameters to the host at each update, so it is for finding a fault. Off by
    /// default; what fails without it is named too, as far as it can be seen by then.
    pub fn detect_anomaly(mut self, on: bool) -> Self {
        self.settings.detect_anomaly = on;
        self
    }

    /// Averages the weights beside the training. Evaluation and prediction use the average as soon
    /// as there is one; see [`Averaging`]. A checkpoint has it as the part `averaged_module`, and
    /// the weights that are trained as `module`. A run that is restored from a checkpoint without one
    /// begins its average anew, and tells so. Settings that make no sense are errors when training starts.
    pub fn average(mut self, averaging: Averaging) -> Self {
        self.average = Some(Average::new(averaging));
        self
    }

    /// Calls `hook` after each backward: the held gradients are the window's so far, each
    /// micro-batch times its weight, and with [`Precision::F16`] times the scale. A hook that fails must
    /// leave them as it found them: it is called again with them when the step is made again.
    pub fn after_backward(
        mut self,
        hook: impl FnMut(&mut E, &mut State) -> Result<(), BoxError> + Send + 'static,
    ) -> Self {
        self.settings.after_backward = Some(Box::new(hook));
        self
    }

    /// Calls `hook` before each update: the held gradients are the mean over the window, not yet
    /// clipped, nor looked at. What the hook makes of them is clipped and used. A hook that fails must
    /// leave them as it found them.
    pub fn before_update(
        mut self,
        hook: impl FnMut(&mut E, &mut State) -> Result<(), BoxError> + Send + 'static,
    ) -> Self {
        self.settings.before_update = Some(Box::new(hook));
        self
    }
}

/// What a schedule counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
    pub(super) group_factors: Vec<(String, f64)>,
    pub(super) frozen: Vec<(String, Thaw)>,
    pub(super) accumulate: u64,
    pub(super) precision: Option<Precision>,
    pub(super) detect_anomaly: bool,
    pub(super) clip_norm: Option<f64>,
    pub(super) clip_value: Option<f64>,
    pub(super) non_finite: NonFinite,
    pub(super) skip_limit: u64,
    pub(super) unreached: Unreached,
    pub(super) holds_statistics: bool,
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
            group_factors: Vec::new(),
            frozen: Vec::new(),
            accumulate: 1,
            precision: None,
            detect_anomaly: false,
            clip_norm: None,
            clip_value: None,
            non_finite: NonFinite::Error,
            skip_limit: 100,
            unreached: Unreached::default(),
            holds_statistics: false,
            after_backward: None,
            before_update: None,
        }
    }
}

impl<E> Settings<E> {
    /// The learning rate of a group, by its schedule.
    pub(super) fn rate_of(&self, group: &str, count: Count) -> f64 {
        let own = self.group_rates.iter().rev().find(|(name, _)| name == group);
        let rate = own.map_or(&self.rate, |(_, rate)| rate).at(count);
        let factors = self.group_factors.iter().filter(|(name, _)| name == group);
        factors.fold(rate, |rate, (_, factor)| rate * factor)
    }

    /// Whether a group is frozen.
    pub(super) fn is_frozen(&self, group: &str, count: Count) -> bool {
        self.frozen.iter().filter(|(name, _)| name == group).any(|(_, until)| match *until {
            Thaw::Never => true,
            Thaw::AtEpoch(epochs) => count.epochs < epochs,
            Thaw::AtUpdate(updates) => count.updates < updates,
        })
    }

    /// Whether losses are scaled.
    pub(super) fn is_scaling(&self) -> bool {
        self.precision == Some(Precision::F16)
    }

    /// Whether a number of a step must be read before the step goes on: where the policy acts on it, and the
    /// device cannot leave the update out by itself.
    pub(super) fn must_know(&self, engine: &mut E, number: &Value<E::Scalar>) -> Result<bool, BoxError>
    where
        E: Engine,
    {
        Ok(match (self.non_finite, number) {
            _ if self.detect_anomaly => true,
            (NonFinite::Skip, _) => true,
            (NonFinite::Error, Value::Device(scalar)) => !engine.skip_unless_finite(scalar)?,
            (NonFinite::Error, Value::Host(_)) | (NonFinite::Ignore, _) => false,
        })
    }

    /// Those that a checkpoint holds, as text by name, to tell what was changed at a restart.
    pub(super) fn told(&self) -> Vec<(String, String)> {
        let mut told = vec![
            ("accumulate".to_owned(), self.accumulate.to_string()),
            ("non_finite".to_owned(), format!("{:?}", self.non_finite)),
        ];
        let limits = [("clip_norm", self.clip_norm), ("clip_value", self.clip_value)];
        told.extend(
            limits.into_iter().filter_map(|(name, limit)| Some((name.to_owned(), limit?.to_string()))),
        );
        if self.non_finite == NonFinite::Skip {
            told.push(("skip_limit".to_owned(), self.skip_limit.to_string()));
        }
        told.extend(
            self.frozen.iter().map(|(group, until)| (format!("freeze.{group}"), format!("{until:?}"))),
        );
        if self.holds_statistics {
            told.push(("hold_frozen_statistics".to_owned(), "true".to_owned()));
        }
        told.extend(self.precision.map(|precision| ("precision".to_owned(), precision.to_string())));
        told
    }

    /// Refuses settings that cannot be used.
    pub(super) fn check(&self, groups: &[String]) -> Result<(), BoxError> {
        let Settings { accumulate, clip_norm, clip_value, group_rates, group_factors, frozen, .. } = self;
        if *accumulate == 0 {
            return Err("`accumulate`: a window of 0 steps never ends; give 1 or more".into());
        }
        for (name, limit) in [("clip_norm", clip_norm), ("clip_value", clip_value)] {
            if limit.is_some_and(|limit| limit.is_nan() || limit <= 0.0) {
                return Err(format!("`{name}`: a limit must be greater than 0").into());
            }
        }
        if let Some((group, factor)) =
            group_factors.iter().find(|(_, factor)| !(factor.is_finite() && *factor >= 0.0))
        {
            return Err(format!("`scale_learning_rate`: the factor of `{group}` is {factor}; give a finite number of at least 0").into());
        }
        let named = group_rates.iter().map(|(group, _)| ("group_learning_rate", group));
        let named = named.chain(group_factors.iter().map(|(group, _)| ("scale_learning_rate", group)));
        let mut named = named.chain(frozen.iter().map(|(group, _)| ("freeze", group)));
        match named.find(|(_, group)| !groups.contains(group)) {
            None => Ok(()),
            Some((setting, group)) => {
                let groups = groups.join(", ");
                Err(format!("`{setting}`: there is no group `{group}`; the engine has: {groups}").into())
            }
        }
    }
}
