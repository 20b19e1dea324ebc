//! Early stopping: ends a run whose metric no longer improves.

use std::borrow::Cow;

use super::patience::Patience;
use super::{Event, Events, Every, Ranks};
use crate::metric::{Best, Improvement, Key, Metric};
use crate::run::Report;
use crate::saved::Stateful;
use crate::state::{EntryPoint, Phase};
use crate::{BoxError, Callback, State};

/// Ends the run for good ([`State::finish`]) when a metric has not improved for a while, has
/// reached an aim, has diverged, or is no finite number.
///
/// It looks at the metric at the end of every evaluation of `fit`, or as
/// [`phase`](EarlyStopping::phase) and [`every`](EarlyStopping::every) say, and at evaluations by hand only
/// with [`judge_evaluate`](EarlyStopping::judge_evaluate). Each look is a *check*, in this order:
///
/// 1. the first checks may be a [warm-up](EarlyStopping::warm_up), and are not judged;
/// 2. a value that is NaN or infinite stops, unless that is [off](EarlyStopping::check_finite);
/// 3. a value [at or better than](EarlyStopping::stop_at) an aim stops;
/// 4. a value [worse than](EarlyStopping::diverge_past) a limit stops;
/// 5. a value better than the best so far, by more than the minimum change, is the new best; after
///    as many others in a row as the patience says, it stops. NaN is never better.
///
/// A metric that was not logged in that phase by the first check is an error which lists the logged
/// ones. An epoch in which it is not logged is no check.
///
/// The [report](Report::best) has the best finite value of all that were looked at, with its epoch,
/// over restarts too: those of a warm-up and those by less than the minimum change are among them.
///
/// Among several [ranks](crate::Run::peers) the first judges, and its stop is one of all. The value of an epoch is that
/// of all ranks, and the value of a step that of the first rank's share of the batch. The best value is in the report
/// of the first rank.
///
/// ```
/// # use regimen::metric::Key;
/// # use regimen::Run;
/// # use regimen::callback::EarlyStopping;
/// const EVAL_LOSS: Key = Key::mean("eval/loss");
/// # fn example<U>(run: Run<'_, U>) -> Run<'_, U> {
/// run.callback(EarlyStopping::min(EVAL_LOSS, 3).min_delta(1e-3))
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct EarlyStopping {
    key: Key,
    phase: Phase,
    every: Every,
    patience: Patience,
    judges_evaluate: bool,
}

impl EarlyStopping {
    /// Stops after `patience` checks in a row in which `key` was not below its smallest value. A
    /// patience of 0 is an error when the run starts.
    pub fn min(key: Key, patience: u64) -> Self {
        EarlyStopping::new(key, Improvement::min(), patience)
    }

    /// Stops after `patience` checks in a row in which `key` was not above its largest value. A
    /// patience of 0 is an error when the run starts.
    pub fn max(key: Key, patience: u64) -> Self {
        EarlyStopping::new(key, Improvement::max(), patience)
    }

    fn new(key: Key, improvement: Improvement, patience: u64) -> Self {
        let patience = Patience::new(improvement, patience);
        EarlyStopping { key, phase: Phase::Eval, every: Every::epochs(1), patience, judges_evaluate: false }
    }

    /// The change below which a better value is no improvement; 0 by default. It replaces a
    /// relative one.
    pub fn min_delta(mut self, delta: f64) -> Self {
        self.patience.improvement = self.patience.improvement.by(delta);
        self
    }

    /// The same as a part of the best value's size: 0.01 asks for 1 %. It replaces an absolute one.
    pub fn min_delta_relative(mut self, part: f64) -> Self {
        self.patience.improvement = self.patience.improvement.by_part(part);
        self
    }

    /// The number of checks at the beginning that are not judged. Default: 0.
    pub fn warm_up(mut self, checks: u64) -> Self {
        self.patience.warm_up = checks;
        self
    }

    /// Stops as soon as the metric reaches `aim`.
    pub fn stop_at(mut self, aim: f64) -> Self {
        self.patience.stop_at = Some(aim);
        self
    }

    /// Stops as soon as the metric is worse than `limit`.
    pub fn diverge_past(mut self, limit: f64) -> Self {
        self.patience.diverge_past = Some(limit);
        self
    }

    /// Whether NaN and infinity stop the run; they do by default. If not, they are values like others, and
    /// NaN is never an improvement.
    pub fn check_finite(mut self, check: bool) -> Self {
        self.patience.check_finite = check;
        self
    }

    /// The phase in which the metric is logged; [`Phase::Eval`] by default.
    pub fn phase(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }

    /// The cadence of checks, counted in that phase. Default: every epoch. At an epoch's end it takes
    /// the value over the epoch, at a step the one logged in that step.
    pub fn every(mut self, every: Every) -> Self {
        self.every = every;
        self
    }

    /// Judges evaluations by [`Run::evaluate`](crate::Run::evaluate) too, for a program that calls it
    /// instead of `fit`.
    pub fn judge_evaluate(mut self) -> Self {
        self.judges_evaluate = true;
        self
    }

    fn check(&mut self, state: &mut State, value: impl Fn(&Metric) -> Option<f64>) -> Result<(), BoxError> {
        let metric = state.metrics(self.phase).get(&self.key).ok_or_else(|| self.not_logged(state))?;
        if metric.key() != &self.key {
            let (key, watched, logged) = (&self.key, self.key.reduction(), metric.key().reduction());
            return Err(format!(
                "early stopping: `{key}` is watched as {watched:?}, and logged as {logged:?}; use one key"
            )
            .into());
        }
        let Some(value) = value(metric) else { return Ok(()) };
        let goal = self.patience.improvement.goal();
        self.patience.measured(&Best::now(self.key.clone(), goal, value, state));
        if let Some(reason) = self.patience.judge(value) {
            state.finish(format!("early stopping: {} {reason}", self.key));
        }
        Ok(())
    }

    fn not_logged(&self, state: &State) -> BoxError {
        let EarlyStopping { key, phase, .. } = self;
        let mut text = format!("early stopping: `{key}` was not logged in {phase}");
        for other in Phase::ALL {
            let names: Vec<_> =
                state.metrics(other).iter().map(|metric| format!("`{}`", metric.key())).collect();
            if !names.is_empty() {
                text += &format!("; logged in {other}: {}", names.join(", "));
            }
        }
        text += "; log it in the step, or watch it in another `phase`";
        text.into()
    }
}

impl<U: ?Sized> Callback<U> for EarlyStopping {
    fn name(&self) -> Cow<'static, str> {
        let EarlyStopping { key, phase, patience, .. } = self;
        Cow::Owned(format!("EarlyStopping({} {key} in {phase})", patience.improvement.goal()))
    }

    fn events(&self) -> Events {
        use Event::*;
        // A run must be refused before its first step, in every phase.
        let starts = TrainStart | EvalStart | PredictStart;
        starts
            | match self.phase {
                Phase::Train => TrainStepEnd | TrainEpochEnd,
                Phase::Eval => EvalStepEnd | EvalEpochEnd,
                Phase::Predict => PredictStepEnd | PredictEpochEnd,
            }
    }

    fn metrics_every(&self) -> Every {
        self.every
    }

    fn ranks(&self) -> Ranks {
        Ranks::First
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(&mut self.patience)
    }

    fn sum_up(&mut self, report: &mut Report) {
        self.patience.best(&self.key).into_iter().for_each(|best| report.add_best(best));
    }

    fn on_event(&mut self, event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        if self.phase == Phase::Eval && state.entry_point() == EntryPoint::Evaluate && !self.judges_evaluate {
            return self.patience.check();
        }
        let now = state.progress_of(self.phase);
        match event {
            Event::TrainStart | Event::EvalStart | Event::PredictStart => self.patience.check(),
            // If the end of the epoch is a check too, there is one, and it comes then.
            _ if !state.is_due(self.every) || state.is_due_at_epoch_end(self.every) => Ok(()),
            Event::TrainStepEnd | Event::EvalStepEnd | Event::PredictStepEnd => {
                self.check(state, |metric| metric.in_step(now.steps))
            }
            _ => self.check(state, |metric| metric.in_epoch(now.epochs)),
        }
    }
}
