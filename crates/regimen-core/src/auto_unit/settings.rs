//! The settings of an [`AutoUnit`], and the methods that set them.

use super::averaging::Average;
use super::{AutoUnit, Averaging, GradientScaler, Plateau};
use crate::engine::{Engine, Precision, Value};
use crate::schedule::Schedule;
use crate::{BoxError, State, Task};

/// Policy for a loss or a gradient that is not finite.
///
/// On a device that computes asynchronously, reading a number waits for all queued work. So the engine leaves
/// losses and norms there ([`Engine::detach`]), and each policy states what it reads in a step. On the CPU
/// they are read at once, at no cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// The step is an error. The default. Checked are the loss, the norm if clipping takes one, and the
    /// weights when training ends. If only a gradient is not finite, the next step's loss shows it.
    ///
    /// A number on the device is not read for this policy. If it is not finite, the device leaves out the
    /// update, and restores the running statistics of before the step. The error comes when the number is
    /// read, at most 64 steps later, and names its step. Until then step and update are counted and nothing
    /// is saved. The error loses the gradients of the window that is under way. If the engine cannot leave out
    /// an update on the device ([`Engine::skip_unless_finite`]), the number is read in its own step.
    #[default]
    Error,
    /// The window's update is skipped: parameters, optimizer and schedule stay as they are, and the step is
    /// not in the epoch's mean. Skipped updates are counted in [`AutoUnit::skipped`] and logged as
    /// [`TRAIN_SKIPPED`](super::TRAIN_SKIPPED). Too many in a row are an error; see [`AutoUnit::skip_limit`].
    /// Loss and gradients are both read in each step. A gradient too large for its norm counts as not finite.
    Skip,
    /// Nothing is checked or read.
    Ignore,
}

/// Policy for a trained parameter without a gradient. Either the loss does not depend on it, or a detached
/// tensor cuts the graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unreached {
    /// One [notice](crate::callback::Event::Notice) at the first update. The default.
    #[default]
    Notice,
    /// The first update is an error.
    Error,
    /// Nothing is checked.
    Ignore,
}

/// The time at which a frozen group of parameters thaws.
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
    /// The learning rate as a function of completed updates: a number, a closure, or a schedule. A rate that is negative or
    /// no finite number is an error of the step whose update it is for.
    pub fn learning_rate(mut self, schedule: impl Schedule + 'static) -> Self {
        self.settings.rate = Rate::ByUpdate(Box::new(schedule));
        self
    }

    /// The learning rate as a function of completed epochs.
    pub fn learning_rate_by_epoch(mut self, schedule: impl Schedule + 'static) -> Self {
        self.settings.rate = Rate::ByEpoch(Box::new(schedule));
        self
    }

    /// The learning rate of one of the engine's parameter groups, by completed updates, instead of the common
    /// one. A group that the engine does not have is an error when training starts.
    pub fn group_learning_rate(
        mut self,
        group: impl Into<String>,
        schedule: impl Schedule + 'static,
    ) -> Self {
        self.settings.group_rates.push((group.into(), Rate::ByUpdate(Box::new(schedule))));
        self
    }

    /// Multiplies the learning rate of one of the engine's parameter groups, common or its own. Layer-wise
    /// rates are one factor per layer. A group that the engine does not have, and a factor that is negative
    /// or NaN or infinite, are errors when training starts.
    pub fn scale_learning_rate(mut self, group: impl Into<String>, factor: f64) -> Self {
        self.settings.group_factors.push((group.into(), factor));
        self
    }

    /// The momentum of the optimizer as a function of completed updates: a number, a closure, or a schedule, from 0
    /// to less than 1. That of Adam is its first beta. Default: the optimizer's own.
    ///
    /// An engine that cannot change it ([`Engine::set_momentum`]) is an error when training starts, and a number
    /// out of range one of its update. With a learning rate that rises and falls the momentum falls and rises:
    /// L. N. Smith, "A disciplined approach to neural network hyper-parameters", 2018.
    pub fn momentum(mut self, schedule: impl Schedule + 'static) -> Self {
        self.settings.momentum = Some(Box::new(schedule));
        self
    }

    /// Reduces all learning rates when a metric stops improving. The reduction is saved. Invalid settings are
    /// errors when training starts.
    pub fn reduce_on_plateau(mut self, plateau: Plateau) -> Self {
        self.plateau = Some(plateau);
        self
    }

    /// Freezes one of the engine's parameter groups until it thaws: it is not trained, and its gradient is
    /// not computed. A group that the engine does not have, and all groups frozen at once, are errors when
    /// training starts.
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

    /// Accumulates `n` steps per update: the gradient is that of the mean over all their samples or tokens.
    /// Default: 1. 0 is an error when training starts.
    pub fn accumulate(mut self, n: u64) -> Self {
        self.settings.accumulate = n;
        self
    }

    /// Bytes of gradients, or of parameters, that are exchanged at a time with the other ranks. No result depends on it. Default: 4 MiB.
    /// 0 is an error when training starts.
    pub fn bucket_bytes(mut self, bytes: usize) -> Self {
        self.settings.bucket_bytes = bytes;
        self
    }

    /// Exchanges gradients with the other ranks while the backward pass computes further ones, on an engine that can: the
    /// one on libtorch, on CPUs. Results are those without it, up to the order in which a transport adds in buckets of
    /// other lengths. All ranks need the same setting. Default: off.
    ///
    /// It pays if a bucket takes milliseconds on the link, and if the thread that exchanges finds a processor. It is off by
    /// default because ranks on one machine, with a processor each, gain nothing from it: the sum is work for that processor
    /// too.
    ///
    /// It has no effect in a step that does not end its window, with [`after_backward`](AutoUnit::after_backward) or
    /// [`detect_anomaly`](AutoUnit::detect_anomaly), and with peers that [sum on the
    /// device](crate::peers::Peers::takes_device).
    pub fn overlap_exchange(mut self, on: bool) -> Self {
        self.settings.overlaps_exchange = on;
        self
    }

    /// Compares weights and optimizer of all ranks every `updates` updates; a difference is an error that names the
    /// rank and the array. Both are copied to the host for it. Default: only when training starts. 0 is an
    /// error then. A [sharded](AutoUnit::shard_optimizer) optimizer is not compared.
    pub fn compare_replicas(mut self, updates: u64) -> Self {
        self.settings.compare_replicas = Some(updates);
        self
    }

    /// Shards the optimizer over the [peers](crate::Run::peers): each rank has its state for a share of the parameters,
    /// makes their step, and gets the others from their owners. Default: off.
    ///
    /// A parameter has one owner. The largest is given first, each to the rank with the fewest bytes so far. So the
    /// memory of the optimizer is divided by the number of ranks, as long as no parameter is larger than a share. The
    /// results are those without sharding. All ranks need the same setting. Alone, or without peers, a rank owns all.
    ///
    /// A checkpoint has the state of all shares under the names without sharding: any number of ranks continues, with
    /// or without sharding. A rank that is lost takes its share along: the others must restore a checkpoint.
    ///
    /// This is the first stage of S. Rajbhandari and others, "ZeRO: Memory Optimizations Toward Training Trillion
    /// Parameter Models", 2020.
    pub fn shard_optimizer(mut self, on: bool) -> Self {
        self.settings.shards_optimizer = on;
        self
    }

    /// Scales the gradient down to a Euclidean norm of at most `norm` over all parameters. A norm that is not
    /// positive is an error when training starts.
    pub fn clip_norm(mut self, norm: f64) -> Self {
        self.settings.clip_norm = Some(norm);
        self
    }

    /// Clamps each element of the gradient to `-limit..=limit`, after clipping by norm. A limit that is not
    /// positive is an error when training starts.
    pub fn clip_value(mut self, limit: f64) -> Self {
        self.settings.clip_value = Some(limit);
        self
    }

    /// Scales the gradient of each unit down to a Euclidean norm of at most `factor` times that of its weights:
    /// adaptive gradient clipping. A unit is the part of a parameter that belongs to one output of its layer; a
    /// bias, and every other parameter of fewer than two dimensions, is one unit. The norm of weights counts as
    /// at least 1e-3, so that weights of zero can move. A `factor` that is not positive, and one together with
    /// [`clip_norm`](AutoUnit::clip_norm) or [`clip_value`](AutoUnit::clip_value), are errors when training starts.
    ///
    /// Brock and others, "High-performance large-scale image recognition without normalization", 2021. There the
    /// factor is 0.01 to 0.16, the smaller the larger the batch, and the last layer is not clipped.
    pub fn clip_adaptive(mut self, factor: f64) -> Self {
        self.settings.clip_adaptive = Some(factor);
        self
    }

    /// Policy for a loss or a gradient that is not finite. Default: [`NonFinite::Error`].
    pub fn non_finite(mut self, policy: NonFinite) -> Self {
        self.settings.non_finite = policy;
        self
    }

    /// Number of updates in a row that may be skipped under [`NonFinite::Skip`]. One more is an error; a
    /// tenth of them is a notice. Default: 100.
    pub fn skip_limit(mut self, updates: u64) -> Self {
        self.settings.skip_limit = updates;
        self
    }

    /// Policy for a parameter that no gradient reaches. Default: [`Unreached::Notice`].
    pub fn unreached(mut self, policy: Unreached) -> Self {
        self.settings.unreached = policy;
        self
    }

    /// Keeps the running statistics of frozen groups fixed. Without it they follow the batches of the
    /// training, also in a frozen group, whose parameters alone are not trained.
    pub fn hold_frozen_statistics(mut self) -> Self {
        self.settings.holds_statistics = true;
        self
    }

    /// The type in which the module computes, in training, evaluation and prediction. An engine that does not
    /// support it is an error when the run starts. Default: the engine's present precision.
    ///
    /// With [`Precision::F16`] losses are scaled. An update whose gradient overflows is skipped as under
    /// [`NonFinite::Skip`], regardless of the policy. So each update reads whether its gradient is finite.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.settings.precision = Some(precision);
        self
    }

    /// The type in which the module computes in evaluation and prediction, instead of that of training. Set
    /// before each step and restored after it, also after an error or a panic. Returns an error at the start of
    /// the run if [`precision`](AutoUnit::precision) is not set or the engine does not support it.
    pub fn eval_precision(mut self, precision: Precision) -> Self {
        self.settings.eval_precision = Some(precision);
        self
    }

    /// Rules for the scale of losses, instead of PyTorch's. Used for [`Precision::F16`] only. Invalid rules
    /// are errors when training starts.
    pub fn gradient_scaler(mut self, scaler: GradientScaler) -> Self {
        self.scaler = scaler;
        self
    }

    /// Finds the first number that is not finite, and names its tensor. Checked are the loss before backward,
    /// gradients after each backward, parameters and buffers after each update, and in each step the outputs
    /// inside the module that are given to an engine's `watch`. A number that is not finite is an error under
    /// every [`NonFinite`]; gradients are checked only if losses are not scaled. On libtorch the operation
    /// whose gradient became NaN is named as well.
    ///
    /// It reads the loss and copies parameters to the host at each update, so it is for debugging. Default:
    /// off. Errors without it also name the tensor, as far as is known by then.
    pub fn detect_anomaly(mut self, on: bool) -> Self {
        self.settings.detect_anomaly = on;
        self
    }

    /// Keeps an average of the weights. Evaluation and prediction use it as soon as it exists; see
    /// [`Averaging`]. A checkpoint has it as the part `averaged_module`, and the trained weights as `module`.
    /// A run restored from a checkpoint without an average starts one, with a notice. Invalid settings are
    /// errors when training starts.
    pub fn average(mut self, averaging: Averaging) -> Self {
        self.average = Some(Average::new(averaging));
        self
    }

    /// Calls `hook` after each backward. The held gradients are the window's so far, each micro-batch times
    /// its weight, and with [`Precision::F16`] times the scale. A hook that fails must leave them unchanged:
    /// it is called again with them when the step is repeated. A hook that exchanges gradients between
    /// processes needs [`NonFinite::Skip`] or a norm to clip by: else a loss on an asynchronous device is
    /// exchanged before it is known to be finite.
    pub fn after_backward(
        mut self,
        hook: impl FnMut(&mut E, &mut State) -> Result<(), BoxError> + Send + 'static,
    ) -> Self {
        self.settings.after_backward = Some(Box::new(hook));
        self
    }

    /// Calls `hook` before each update. The held gradients are the mean over the window, before clipping and
    /// checks. The gradients that the hook leaves are clipped and used. A hook that fails must leave them
    /// unchanged.
    pub fn before_update(
        mut self,
        hook: impl FnMut(&mut E, &mut State) -> Result<(), BoxError> + Send + 'static,
    ) -> Self {
        self.settings.before_update = Some(Box::new(hook));
        self
    }
}

/// Changes between two calls.
impl<E: Engine, T: Task<E>> AutoUnit<E, T> {
    /// Sets the learning rate as a function of completed updates: see [`learning_rate`](AutoUnit::learning_rate).
    pub fn set_learning_rate(&mut self, schedule: impl Schedule + 'static) {
        self.settings.rate = Rate::ByUpdate(Box::new(schedule));
    }

    /// Trains every group at the rate of `schedule`, by completed updates and times the
    /// [factors](AutoUnit::scale_learning_rate) of the group, instead of all other rates and of a plateau's. With `None`
    /// these are used again. For sweeps over rates.
    pub fn override_learning_rate(&mut self, schedule: Option<Box<dyn Schedule>>) {
        self.settings.overriding = schedule;
    }

    /// Sets the learning rate of one of the engine's parameter groups, by completed updates, instead of all that was set
    /// for it before. It is an error, and changes nothing, if the engine does not have the group.
    pub fn set_group_learning_rate(
        &mut self,
        group: &str,
        schedule: impl Schedule + 'static,
    ) -> Result<(), BoxError> {
        self.check_group("set_group_learning_rate", group)?;
        let Settings { group_rates, group_factors, .. } = &mut self.settings;
        group_rates.retain(|(name, _)| name != group);
        group_factors.retain(|(name, _)| name != group);
        group_rates.push((group.to_owned(), Rate::ByUpdate(Box::new(schedule))));
        Ok(())
    }

    /// Freezes one of the engine's parameter groups from the next step on, or thaws it if `until` is `None`, instead of
    /// all that was set for it before. It is an error, and changes nothing, if the engine does not have the group.
    pub fn set_frozen(&mut self, group: &str, until: Option<Thaw>) -> Result<(), BoxError> {
        self.check_group("set_frozen", group)?;
        self.settings.frozen.retain(|(name, _)| name != group);
        self.settings.frozen.extend(until.map(|until| (group.to_owned(), until)));
        Ok(())
    }

    /// Whether a parameter group is frozen at present.
    pub fn is_frozen(&self, group: &str) -> bool {
        self.settings.is_frozen(group, self.count)
    }

    fn check_group(&self, setting: &str, group: &str) -> Result<(), BoxError> {
        let groups = self.engine().groups();
        match groups.iter().any(|known| known == group) {
            true => Ok(()),
            false => Err(no_group(setting, group, groups)),
        }
    }
}

fn no_group(setting: &str, group: &str, groups: &[String]) -> BoxError {
    format!("`{setting}`: there is no group `{group}`; the engine has: {}", groups.join(", ")).into()
}

/// The count that a schedule depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Count {
    pub(super) updates: u64,
    pub(super) epochs: u64,
}

/// The numbers that the schedules gave for an update.
#[derive(Clone, Debug, Default)]
pub(super) struct Scheduled {
    pub(super) at: Count,
    /// One per group.
    pub(super) rates: Vec<f64>,
    pub(super) momentum: Option<f64>,
}

/// A hook on the held gradients.
type GradientHook<E> = Box<dyn FnMut(&mut E, &mut State) -> Result<(), BoxError> + Send>;

/// Settings of an [`AutoUnit`].
pub(super) struct Settings<E> {
    pub(super) rate: Rate,
    pub(super) group_rates: Vec<(String, Rate)>,
    pub(super) group_factors: Vec<(String, f64)>,
    /// The rate of all groups instead of their own.
    pub(super) overriding: Option<Box<dyn Schedule>>,
    pub(super) momentum: Option<Box<dyn Schedule>>,
    pub(super) frozen: Vec<(String, Thaw)>,
    pub(super) accumulate: u64,
    pub(super) bucket_bytes: usize,
    pub(super) overlaps_exchange: bool,
    pub(super) compare_replicas: Option<u64>,
    pub(super) shards_optimizer: bool,
    pub(super) precision: Option<Precision>,
    pub(super) eval_precision: Option<Precision>,
    pub(super) detect_anomaly: bool,
    pub(super) clip_norm: Option<f64>,
    pub(super) clip_value: Option<f64>,
    pub(super) clip_adaptive: Option<f64>,
    pub(super) non_finite: NonFinite,
    pub(super) skip_limit: u64,
    pub(super) unreached: Unreached,
    pub(super) holds_statistics: bool,
    pub(super) after_backward: Option<GradientHook<E>>,
    pub(super) before_update: Option<GradientHook<E>>,
}

/// A schedule, and its count.
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
            overriding: None,
            momentum: None,
            frozen: Vec::new(),
            accumulate: 1,
            bucket_bytes: 4 << 20,
            overlaps_exchange: false,
            compare_replicas: None,
            shards_optimizer: false,
            precision: None,
            eval_precision: None,
            detect_anomaly: false,
            clip_norm: None,
            clip_value: None,
            clip_adaptive: None,
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
        let rate = match &self.overriding {
            Some(schedule) => schedule.rate(count.updates),
            None => own.map_or(&self.rate, |(_, rate)| rate).at(count),
        };
        let factors = self.group_factors.iter().filter(|(name, _)| name == group);
        factors.fold(rate, |rate, (_, factor)| rate * factor)
    }

    /// The momentum, by its schedule.
    pub(super) fn momentum_at(&self, count: Count) -> Option<f64> {
        self.momentum.as_ref().map(|schedule| schedule.rate(count.updates))
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

    /// Whether a number of a step must be read before the step goes on. It must if the policy acts on it and
    /// the device cannot leave out the update by itself.
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

    /// The settings in a checkpoint, as text by name, to report changes at a restart.
    pub(super) fn told(&self) -> Vec<(String, String)> {
        let mut told = vec![
            ("accumulate".to_owned(), self.accumulate.to_string()),
            ("non_finite".to_owned(), format!("{:?}", self.non_finite)),
        ];
        told.extend(
            self.limits().into_iter().filter_map(|(name, limit)| Some((name.to_owned(), limit?.to_string()))),
        );
        if self.momentum.is_some() {
            told.push(("momentum".to_owned(), "scheduled".to_owned()));
        }
        if self.non_finite == NonFinite::Skip {
            told.push(("skip_limit".to_owned(), self.skip_limit.to_string()));
        }
        told.extend(
            self.frozen.iter().map(|(group, until)| (format!("freeze.{group}"), format!("{until:?}"))),
        );
        if self.holds_statistics {
            told.push(("hold_frozen_statistics".to_owned(), "true".to_owned()));
        }
        let precisions = [("precision", self.precision), ("eval_precision", self.eval_precision)];
        told.extend(precisions.into_iter().filter_map(|(name, of)| Some((name.to_owned(), of?.to_string()))));
        told
    }

    fn limits(&self) -> [(&'static str, Option<f64>); 3] {
        [
            ("clip_norm", self.clip_norm),
            ("clip_value", self.clip_value),
            ("clip_adaptive", self.clip_adaptive),
        ]
    }

    /// Rejects settings that cannot be used.
    pub(super) fn check(&self, groups: &[String]) -> Result<(), BoxError> {
        let Settings { accumulate, group_rates, group_factors, frozen, .. } = self;
        if *accumulate == 0 {
            return Err("`accumulate`: a window of 0 steps never ends; give 1 or more".into());
        }
        if self.bucket_bytes == 0 {
            return Err("`bucket_bytes`: nothing fits into 0 bytes; give more".into());
        }
        if self.compare_replicas == Some(0) {
            return Err("`compare_replicas`: 0 updates never pass; give 1 or more".into());
        }
        for (name, limit) in self.limits() {
            if limit.is_some_and(|limit| limit.is_nan() || limit <= 0.0) {
                return Err(format!("`{name}`: a limit must be greater than 0").into());
            }
            if limit.is_some() && name != "clip_adaptive" && self.clip_adaptive.is_some() {
                return Err(
                    format!("`clip_adaptive` and `{name}` both clip the gradient; leave one out").into()
                );
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
            Some((setting, group)) => Err(no_group(setting, group, groups)),
        }
    }
}
