//! Rules on the values of metrics.

use std::fmt;

use crate::callback::{Event, Events, Every, Outcome};
use crate::log::Record;
use crate::metric::{Key, Metric};
use crate::state::Phase;
use crate::{BoxError, Callback, State};

/// Judges metrics by rules: sends a notice, stops the run or calls a closure if a value is an anomaly.
///
/// It stands among the logs because it is given their records: the values that a
/// [`MetricLog`](super::MetricLog) of the same cadence writes, those of single training steps and those over
/// epochs of any phase. A metric is found by its name. A rule on a metric that was never logged is a notice
/// when a training reaches its limit. Nothing is saved: after a restart the first anomaly is a notice again.
///
/// Among several [ranks](crate::Run::peers) each judges. The value of a step is that of the rank's share of the batch, so an
/// anomaly may be one of a single rank. Its pause or final stop is one of all.
///
/// ```
/// # use regimen::metric::Key;
/// use regimen::auto_unit::TRAIN_LOSS;
/// use regimen::log::{AnomalyLog, AnomalyRule};
/// # use regimen::Run;
/// const ACCURACY: Key = Key::mean("eval/accuracy");
///
/// # fn example<U>(run: Run<'_, U>) -> Run<'_, U> {
/// run.callback(
///     AnomalyLog::new()
///         .rule(AnomalyRule::not_finite(TRAIN_LOSS).pause())
///         .rule(AnomalyRule::above(TRAIN_LOSS, 10.0).warm_up(100))
///         .rule(AnomalyRule::below(ACCURACY, 0.1).finish()),
/// )
/// # }
/// ```
#[derive(Debug)]
pub struct AnomalyLog {
    rules: Vec<AnomalyRule>,
    every: Every,
}

/// A rule of an [`AnomalyLog`]. It sends a [notice](State::notices) unless it is told otherwise.
pub struct AnomalyRule {
    key: Key,
    bound: Bound,
    warm_up: u64,
    action: Action,
    /// Whether the last value was an anomaly: of a step, over an epoch.
    told: [bool; 2],
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    Above(f64),
    Below(f64),
    NotFinite,
}

enum Action {
    Notice,
    Pause,
    Finish,
    Call(Box<Call>),
}

type Call = dyn FnMut(&Record<'_>, &mut State) -> Result<(), BoxError> + Send;

impl AnomalyRule {
    /// A value above `threshold`, or NaN, is an anomaly. A threshold of NaN is an error when the run starts.
    pub fn above(key: Key, threshold: f64) -> Self {
        AnomalyRule::new(key, Bound::Above(threshold))
    }

    /// A value below `threshold`, or NaN, is an anomaly. A threshold of NaN is an error when the run starts.
    pub fn below(key: Key, threshold: f64) -> Self {
        AnomalyRule::new(key, Bound::Below(threshold))
    }

    /// A value that is NaN or infinite is an anomaly.
    pub fn not_finite(key: Key) -> Self {
        AnomalyRule::new(key, Bound::NotFinite)
    }

    fn new(key: Key, bound: Bound) -> Self {
        AnomalyRule { key, bound, warm_up: 0, action: Action::Notice, told: [false; 2] }
    }

    /// The number of training steps at the beginning of the run in which nothing is judged. Default: 0.
    pub fn warm_up(mut self, steps: u64) -> Self {
        self.warm_up = steps;
        self
    }

    /// Sends a notice at the first of several anomalies in a row. This is the default.
    pub fn notice(mut self) -> Self {
        self.action = Action::Notice;
        self
    }

    /// Pauses the run at every anomaly: [`State::pause`].
    pub fn pause(mut self) -> Self {
        self.action = Action::Pause;
        self
    }

    /// Ends the run for good at an anomaly: [`State::finish`].
    pub fn finish(mut self) -> Self {
        self.action = Action::Finish;
        self
    }

    /// Calls `call` with every anomaly. An error that it returns is one of the run. Among several ranks it is called on
    /// those that have the anomaly, so it must not call [peers](State::peers).
    ///
    /// ```
    /// # use regimen::auto_unit::TRAIN_LOSS;
    /// use regimen::State;
    /// use regimen::log::{AnomalyRule, Record};
    /// let rule = AnomalyRule::above(TRAIN_LOSS, 10.0).call(|anomaly: &Record<'_>, state: &mut State| {
    ///     state.log_media("anomaly", format!("{} in step {}", anomaly.value, anomaly.step));
    /// });
    /// # drop(rule);
    /// ```
    pub fn call<R: Outcome>(
        mut self,
        mut call: impl FnMut(&Record<'_>, &mut State) -> R + Send + 'static,
    ) -> Self {
        self.action = Action::Call(Box::new(move |anomaly, state| call(anomaly, state).into_result()));
        self
    }

    fn check(&self) -> Result<(), BoxError> {
        match self.bound {
            Bound::Above(threshold) | Bound::Below(threshold) if threshold.is_nan() => {
                Err(format!("anomaly log: the threshold for `{}` is NaN; give a number", self.key).into())
            }
            _ => Ok(()),
        }
    }

    /// The anomaly that `value` is; `None` if it is none.
    fn anomaly(&self, value: f64) -> Option<String> {
        match self.bound {
            _ if value.is_nan() => Some("is NaN".to_owned()),
            Bound::Above(threshold) if value > threshold => Some(format!("is {value}, above {threshold}")),
            Bound::Below(threshold) if value < threshold => Some(format!("is {value}, below {threshold}")),
            Bound::NotFinite if value.is_infinite() => Some(format!("is {value}")),
            _ => None,
        }
    }

    /// A notice that the metric was not logged in any phase of a run that reached its limit.
    fn idle(&self, state: &State) -> Option<String> {
        let is_logged = |phase| state.metrics(phase).get(&self.key).is_some();
        if state.stopping().is_some() || Phase::ALL.into_iter().any(is_logged) {
            return None;
        }
        let why = "was not logged, so its rule judged nothing; is its name right?";
        Some(format!("anomaly log: `{}` {why}", self.key))
    }

    /// Judges what was measured in the `epoch` that ended, or in the training step.
    fn judge(&mut self, epoch: Option<u64>, state: &mut State) -> Result<(), BoxError> {
        let (step, phase) = (state.train_progress().steps, state.phase());
        let Some(metric) = state.metrics(phase).get(&self.key) else { return Ok(()) };
        let value = epoch.map_or_else(|| Metric::in_step(metric, step), |epoch| metric.in_epoch(epoch));
        let Some(value) = value.filter(|_| self.warm_up < step) else { return Ok(()) };
        let anomaly = self.anomaly(value);
        let told = std::mem::replace(&mut self.told[usize::from(epoch.is_some())], anomaly.is_some());
        let Some(anomaly) = anomaly else { return Ok(()) };
        let moment = match epoch {
            None => format!("in step {step}"),
            Some(epoch) => format!("over {phase} epoch {epoch}"),
        };
        let text = format!("anomaly: `{}` {anomaly} {moment}", self.key);
        match &mut self.action {
            Action::Notice if told => {}
            Action::Notice => state.notify(text),
            Action::Pause => state.pause(text),
            Action::Finish => state.finish(text),
            Action::Call(call) => {
                call(&Record { step, phase, name: self.key.name(), value, epoch }, state)?;
            }
        }
        Ok(())
    }
}

impl AnomalyLog {
    /// Without rules.
    pub fn new() -> Self {
        AnomalyLog { rules: Vec::new(), every: Every::steps(10).or(Every::epochs(1)) }
    }

    /// Adds a rule. Several may judge one metric; they do so in this order.
    pub fn rule(mut self, rule: AnomalyRule) -> Self {
        self.rules.push(rule);
        self
    }

    /// The cadence of judgments: steps and updates count training, epochs those of each phase. Default:
    /// every 10 steps and every epoch. Values of a step at which it judges are read from the device (see
    /// [`State::wants_metrics`]).
    pub fn every(mut self, every: Every) -> Self {
        self.every = every;
        self
    }
}

impl Default for AnomalyLog {
    /// Without rules.
    fn default() -> Self {
        AnomalyLog::new()
    }
}

impl<U: ?Sized> Callback<U> for AnomalyLog {
    fn events(&self) -> Events {
        use Event::*;
        Events::of(&[
            TrainStart,
            EvalStart,
            PredictStart,
            TrainStepEnd,
            TrainEpochEnd,
            EvalEpochEnd,
            PredictEpochEnd,
            TrainEnd,
        ])
    }

    fn metrics_every(&self) -> Every {
        self.every
    }

    /// It judges what other callbacks log, wherever they are registered.
    fn writes_down(&self) -> bool {
        true
    }

    fn on_event(&mut self, event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        match event {
            Event::TrainStart | Event::EvalStart | Event::PredictStart => {
                return self.rules.iter().try_for_each(AnomalyRule::check);
            }
            Event::TrainEnd => {
                let idle: Vec<_> = self.rules.iter().filter_map(|rule| rule.idle(state)).collect();
                idle.into_iter().for_each(|notice| state.notify(notice));
                return Ok(());
            }
            _ => {}
        }
        if !state.is_due(self.every) {
            return Ok(());
        }
        let epoch = (event != Event::TrainStepEnd).then_some(state.progress().epochs);
        self.rules.iter_mut().try_for_each(|rule| rule.judge(epoch, state))
    }
}

impl fmt::Debug for AnomalyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AnomalyRule { key, bound, warm_up, .. } = self;
        let mut rule = f.debug_struct("AnomalyRule");
        rule.field("key", key).field("bound", bound).field("warm_up", warm_up).finish_non_exhaustive()
    }
}
