//! The rule of early stopping: given one value after another, whether to stop.

use crate::BoxError;
use crate::metric::{Best, Improvement, Key};
use crate::saved::{Array, StateDict, Stateful};
use crate::text::Count;

/// The settings of the rule, and the values so far.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    pub(super) improvement: Improvement,
    /// Values without improvement after which it stops.
    pub(super) patience: u64,
    /// Values at the beginning that are not judged.
    pub(super) warm_up: u64,
    pub(super) stop_at: Option<f64>,
    pub(super) diverge_past: Option<f64>,
    pub(super) check_finite: bool,
    seen: u64,
    waited: u64,
    best: Option<f64>,
    /// The best value there was, a warm-up and improvements that are too small included.
    top: Option<Top>,
    /// Whether all values were looked at for it; false if an older version saved the state.
    top_known: bool,
}

/// A value, and when it was measured.
#[derive(Clone, Copy, Debug)]
struct Top {
    value: f64,
    epoch: u64,
    train_step: u64,
}

impl Patience {
    pub(super) fn new(improvement: Improvement, patience: u64) -> Self {
        Patience {
            improvement,
            patience,
            warm_up: 0,
            stop_at: None,
            diverge_past: None,
            check_finite: true,
            seen: 0,
            waited: 0,
            best: None,
            top: None,
            top_known: true,
        }
    }

    /// Refuses settings that cannot be meant.
    pub(super) fn check(&self) -> Result<(), BoxError> {
        if self.patience == 0 {
            return Err("early stopping: a patience of 0 stops at once; give 1 or more".into());
        }
        self.improvement.check("early stopping: the minimum change")?;
        for (what, threshold) in [("stop_at", self.stop_at), ("diverge_past", self.diverge_past)] {
            if threshold.is_some_and(f64::is_nan) {
                return Err(format!("early stopping: the threshold of `{what}` is NaN; give a number").into());
            }
        }
        Ok(())
    }

    /// Takes the next value; says why to stop, if it is to.
    pub(super) fn judge(&mut self, value: f64) -> Option<String> {
        let goal = self.improvement.goal();
        self.seen += 1;
        if self.seen <= self.warm_up {
            return None;
        }
        if self.check_finite && !value.is_finite() {
            return Some(format!("is {value}"));
        }
        if let Some(threshold) = self.stop_at.filter(|&at| value == at || goal.is_better(value, at)) {
            return Some(format!("reached {value}, the aim was {threshold}"));
        }
        if let Some(threshold) = self.diverge_past.filter(|&past| goal.is_better(past, value)) {
            return Some(format!("diverged to {value}, past {threshold}"));
        }
        if self.improvement.is_better(value, self.best) {
            (self.best, self.waited) = (Some(value), 0);
            return None;
        }
        self.waited += 1;
        if self.waited < self.patience {
            return None;
        }
        // A run that continues after the stop gets the full patience again.
        self.waited = 0;
        let (checks, best) = (self.patience, self.best.unwrap_or(f64::NAN));
        Some(format!("has not improved on {best} in {}", Count(checks, "check")))
    }

    /// Takes a measured value, for [`best`](Patience::best).
    pub(super) fn measured(&mut self, now: &Best) {
        let &Best { value, epoch, train_step, .. } = now;
        let goal = self.improvement.goal();
        if value.is_finite() && self.top.is_none_or(|top| goal.is_better(value, top.value)) {
            self.top = Some(Top { value, epoch, train_step });
        }
    }

    /// The best value of `key` so far, if it is known.
    pub(super) fn best(&self, key: &Key) -> Option<Best> {
        let Top { value, epoch, train_step } = self.top.filter(|_| self.top_known)?;
        let goal = self.improvement.goal();
        Some(Best { key: key.clone(), goal, value, epoch, train_step, checkpoint: None })
    }
}

/// The best value and the counts; the settings are not in it.
impl Stateful for Patience {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("best", Array::from_slice(self.best.as_slice()))?;
        dict.insert("seen", self.seen)?;
        dict.insert("waited", self.waited)?;
        if self.top_known {
            let (value, at) = self.top.map(|top| (top.value, [top.epoch, top.train_step])).unzip();
            dict.insert("top", Array::from_slice(value.as_slice()))?;
            dict.insert("top_at", Array::from_slice(at.as_ref().map_or(&[][..], |at| at)))?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let best = dict.array("best")?.to_vec()?;
        let (seen, waited) = (dict.count("seen")?, dict.count("waited")?);
        let (mut top, top_known) = (None, dict.contains("top"));
        if top_known {
            let (value, at) = (dict.array("top")?.to_vec()?, dict.array("top_at")?.to_vec()?);
            top = match (&*value, &*at) {
                ([], []) => None,
                (&[value], &[epoch, train_step]) => Some(Top { value, epoch, train_step }),
                _ => return Err("early stopping: what is saved of the best value is incomplete".into()),
            };
        }
        (self.best, self.seen, self.waited) = (best.first().copied(), seen, waited);
        (self.top, self.top_known) = (top, top_known);
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.clone().load_state_dict(dict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Goal;

    const LOSS: Key = Key::mean("loss");

    #[test]
    fn the_best_is_not_claimed_where_an_older_version_has_saved_no_more_than_its_value() {
        let at = |value, train_step| Best {
            key: LOSS,
            goal: Goal::Min,
            value,
            epoch: 1,
            train_step,
            checkpoint: None,
        };
        let mut patience = Patience::new(Improvement::min(), 3);
        patience.judge(1.0);
        patience.measured(&at(1.0, 10));
        let mut saved = patience.state_dict().unwrap();
        let mut restored = Patience::new(Improvement::min(), 3);
        restored.load_state_dict(&saved).unwrap();
        restored.measured(&at(2.0, 20));
        assert_eq!(restored.best(&LOSS), Some(at(1.0, 10)));
        // As it was saved before the place of the best was.
        saved.remove("top").unwrap();
        saved.remove("top_at").unwrap();
        restored.load_state_dict(&saved).unwrap();
        restored.measured(&at(2.0, 20));
        assert_eq!(restored.best(&LOSS), None);
        assert_eq!(restored.state_dict().unwrap(), saved);
    }
}
