//! Learning rate reduced when a metric stops improving.

use crate::metric::{Improvement, Key};
use crate::saved::{Array, StateDict, Stateful};
use crate::state::{EntryPoint, Phase};
use crate::{BoxError, State};

/// Multiplies every learning rate by a factor if a metric has stopped improving. The rules are those of
/// PyTorch's `ReduceLROnPlateau`. See [`AutoUnit::reduce_on_plateau`](crate::AutoUnit::reduce_on_plateau).
///
/// The metric is read when an evaluation of `fit` or an epoch of training ends, with the values that unit and
/// task have logged by then. Each read is a *check*. A value is better if it is past the best one by the
/// threshold; NaN never is. The rates fall after more checks in a row without improvement than the patience, which a
/// [notice](State::notices) tells.
/// Unlike PyTorch's, a relative threshold is a part of the best value's size also below 0, and there is no
/// smallest change of a rate.
///
/// ```
/// use regimen_core::auto_unit::{EVAL_LOSS, Plateau};
///
/// let plateau = Plateau::min(EVAL_LOSS).patience(3).factor(0.5).minimum(1e-6);
/// ```
#[derive(Clone, Debug)]
pub struct Plateau {
    key: Key,
    phase: Phase,
    improvement: Improvement,
    factor: f64,
    patience: u64,
    cooldown: u64,
    minimum: f64,
    judges_evaluate: bool,
    seen: Seen,
}

/// Progress of a plateau.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    best: Option<f64>,
    /// Checks in a row without improvement.
    bad: u64,
    /// Remaining checks of the cool-down.
    resting: u64,
    /// The factor of all rates.
    scale: f64,
}

impl Plateau {
    /// For a metric that should fall: a factor of 0.1, a patience of 10 checks, a threshold of
    /// 1e-4 of the best value, no cool-down and no minimum.
    pub fn min(key: Key) -> Self {
        Plateau::new(key, Improvement::min())
    }

    /// For a metric that should rise, with the same settings.
    pub fn max(key: Key) -> Self {
        Plateau::new(key, Improvement::max())
    }

    fn new(key: Key, improvement: Improvement) -> Self {
        Plateau {
            key,
            phase: Phase::Eval,
            improvement: improvement.by_part(1e-4),
            factor: 0.1,
            patience: 10,
            cooldown: 0,
            minimum: 0.0,
            judges_evaluate: false,
            seen: Seen { best: None, bad: 0, resting: 0, scale: 1.0 },
        }
    }

    /// Reads the metric of `phase`: [`Phase::Eval`], the default, or [`Phase::Train`].
    pub fn phase(self, phase: Phase) -> Self {
        Plateau { phase, ..self }
    }

    /// Factor of each reduction; between 0 and 1.
    pub fn factor(self, factor: f64) -> Self {
        Plateau { factor, ..self }
    }

    /// Number of checks in a row that may bring no improvement.
    pub fn patience(self, checks: u64) -> Self {
        Plateau { patience: checks, ..self }
    }

    /// Smallest improvement, as a part of the best value's size.
    pub fn threshold(self, part: f64) -> Self {
        Plateau { improvement: self.improvement.by_part(part), ..self }
    }

    /// Smallest improvement, as an absolute difference.
    pub fn threshold_absolute(self, change: f64) -> Self {
        Plateau { improvement: self.improvement.by(change), ..self }
    }

    /// Number of checks after a fall that are not counted.
    pub fn cooldown(self, checks: u64) -> Self {
        Plateau { cooldown: checks, ..self }
    }

    /// Lower bound of each rate. A rate that is already below it stays as it is.
    pub fn minimum(self, rate: f64) -> Self {
        Plateau { minimum: rate, ..self }
    }

    /// Also checks at evaluations by [`Run::evaluate`](crate::Run::evaluate), for a program that calls it
    /// instead of `fit`.
    pub fn judge_evaluate(self) -> Self {
        Plateau { judges_evaluate: true, ..self }
    }

    /// The metric.
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Rejects settings that cannot be used.
    pub(super) fn check(&self) -> Result<(), BoxError> {
        if !(self.factor > 0.0 && self.factor < 1.0) {
            return Err(format!("plateau: the factor is {}; give one between 0 and 1", self.factor).into());
        }
        self.improvement.check("plateau: the threshold")?;
        if !(self.minimum.is_finite() && self.minimum >= 0.0) {
            let minimum = self.minimum;
            return Err(
                format!("plateau: the minimum is {minimum}; give a finite number of at least 0").into()
            );
        }
        match self.phase {
            Phase::Predict => {
                Err("plateau: the phase is predict; give `Phase::Eval` or `Phase::Train`".into())
            }
            Phase::Train | Phase::Eval => Ok(()),
        }
    }

    /// The reduced `rate`.
    pub(super) fn apply(&self, rate: f64) -> f64 {
        if self.seen.scale == 1.0 { rate } else { (rate * self.seen.scale).max(self.minimum.min(rate)) }
    }

    /// An epoch of `phase` ended: checks the metric if it is of that phase.
    pub(super) fn look(&mut self, phase: Phase, state: &State) -> Result<(), BoxError> {
        if phase != self.phase || (state.entry_point() == EntryPoint::Evaluate && !self.judges_evaluate) {
            return Ok(());
        }
        let metrics = state.metrics(phase);
        let Some(metric) = metrics.get(&self.key) else {
            if state.progress_of(phase).steps_in_last_epoch == 0 {
                return Ok(());
            }
            let names: Vec<&str> = metrics.iter().map(|metric| metric.key().name()).collect();
            let (key, names) = (&self.key, names.join(", "));
            return Err(format!("plateau: `{key}` was not logged in {phase}; logged there: {names}").into());
        };
        metric.check(&self.key).map_err(|cause| format!("plateau: {cause}"))?;
        metric.so_far().into_iter().for_each(|value| self.judge(value));
        Ok(())
    }

    fn judge(&mut self, value: f64) {
        let better = self.improvement.is_past(value, self.seen.best);
        let Seen { best, bad, resting, scale } = &mut self.seen;
        if better {
            (*best, *bad) = (Some(value), 0);
        } else {
            *bad += 1;
        }
        if *resting > 0 {
            (*resting, *bad) = (*resting - 1, 0);
        }
        if *bad > self.patience {
            (*scale, *resting, *bad) = (*scale * self.factor, self.cooldown, 0);
        }
    }
}

/// Progress only; the settings are not saved.
impl Stateful for Plateau {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let Seen { best, bad, resting, scale } = &self.seen;
        let mut dict = StateDict::new();
        dict.insert("best", Array::from_slice(best.as_slice()))?;
        dict.insert("bad", *bad)?;
        dict.insert("resting", *resting)?;
        dict.insert("scale", *scale)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.seen = Seen {
            best: dict.array("best")?.to_vec()?.first().copied(),
            bad: dict.count("bad")?,
            resting: dict.count("resting")?,
            scale: dict.get("scale")?,
        };
        Ok(())
    }
}
