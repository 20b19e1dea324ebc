//! The rule of early stopping: given one value after another, whether to stop.

use crate::{Array, BoxError, StateDict, Stateful};

/// What is judged, and what was seen so far.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    pub(super) goal: Goal,
    /// Values without improvement after which it stops.
    pub(super) patience: u64,
    pub(super) min_delta: Delta,
    /// Values at the beginning that are not judged.
    pub(super) warm_up: u64,
    pub(super) stop_at: Option<f64>,
    pub(super) diverge_past: Option<f64>,
    pub(super) check_finite: bool,
    seen: u64,
    waited: u64,
    best: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Min,
    Max,
}

impl Goal {
    pub(super) fn name(self) -> &'static str {
        match self {
            Goal::Min => "min",
            Goal::Max => "max",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Delta {
    Absolute(f64),
    /// In units of the best value, whatever its sign.
    Relative(f64),
}

impl Patience {
    pub(super) fn new(goal: Goal, patience: u64) -> Self {
        Patience {
            goal,
            patience,
            min_delta: Delta::Absolute(0.0),
            warm_up: 0,
            stop_at: None,
            diverge_past: None,
            check_finite: true,
            seen: 0,
            waited: 0,
            best: None,
        }
    }

    /// Refuses settings that cannot be meant.
    pub(super) fn check(&self) -> Result<(), BoxError> {
        if self.patience == 0 {
            return Err("early stopping: a patience of 0 stops at once; give 1 or more".into());
        }
        let (Delta::Absolute(delta) | Delta::Relative(delta)) = self.min_delta;
        if !(delta.is_finite() && delta >= 0.0) {
            return Err(format!(
                "early stopping: the minimum change is {delta}; give a finite number that is not negative"
            )
            .into());
        }
        for (what, threshold) in [("stop_at", self.stop_at), ("diverge_past", self.diverge_past)] {
            if threshold.is_some_and(f64::is_nan) {
                return Err(format!("early stopping: the threshold of `{what}` is NaN; give a number").into());
            }
        }
        Ok(())
    }

    /// Takes the next value; says why to stop, if it is to.
    pub(super) fn judge(&mut self, value: f64) -> Option<String> {
        self.seen += 1;
        if self.seen <= self.warm_up {
            return None;
        }
        if self.check_finite && !value.is_finite() {
            return Some(format!("is {value}"));
        }
        if let Some(threshold) = self.stop_at.filter(|&at| value == at || self.is_better(value, at)) {
            return Some(format!("reached {value}, the aim was {threshold}"));
        }
        if let Some(threshold) = self.diverge_past.filter(|&past| self.is_better(past, value)) {
            return Some(format!("diverged to {value}, past {threshold}"));
        }
        if self.improves(value) {
            (self.best, self.waited) = (Some(value), 0);
            return None;
        }
        self.waited += 1;
        if self.waited < self.patience {
            return None;
        }
        // If the run is told to go on all the same, it is given as long again.
        self.waited = 0;
        let (checks, best) = (self.patience, self.best.unwrap_or(f64::NAN));
        let checks = if checks == 1 { "1 check".to_owned() } else { format!("{checks} checks") };
        Some(format!("has not improved on {best} in {checks}"))
    }

    fn improves(&self, value: f64) -> bool {
        let Some(best) = self.best else { return !value.is_nan() };
        let delta = match self.min_delta {
            Delta::Absolute(delta) => delta,
            Delta::Relative(part) if best.is_finite() => part * best.abs(),
            Delta::Relative(_) => 0.0,
        };
        match self.goal {
            Goal::Min => value + delta < best,
            Goal::Max => value - delta > best,
        }
    }

    fn is_better(&self, value: f64, than: f64) -> bool {
        match self.goal {
            Goal::Min => value < than,
            Goal::Max => value > than,
        }
    }
}

/// The best value and the counts; the settings are not in it.
impl Stateful for Patience {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("best", Array::from_slice(self.best.as_slice()))?;
        dict.insert("seen", self.seen)?;
        dict.insert("waited", self.waited)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let best = dict.array("best")?.to_vec()?;
        let (seen, waited) = (dict.count("seen")?, dict.count("waited")?);
        (self.best, self.seen, self.waited) = (best.first().copied(), seen, waited);
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.clone().load_state_dict(dict)
    }
}
