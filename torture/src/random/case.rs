//! A random case: a run and its disturbances, drawn from a seed.

use std::fmt;

use regimen::Fit;
use regimen::auto_unit::{Averaging, Plateau, Thaw};
use regimen::callback::Every;
use regimen::run::{Evaluate, Train};

/// A run and its disturbances.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) seed: u64,
    pub(super) settings: Settings,
    pub(super) train: Vec<Item>,
    pub(super) eval: Vec<Item>,
    pub(super) calls: Vec<Call>,
    /// Actions before each call and after the last.
    pub(super) between: Vec<Vec<Between>>,
    pub(super) strikes: Vec<Strike>,
    /// Number of events between saves in the middle of a call.
    pub(super) save_every: u64,
    /// Restarts lose accumulation windows. Never drawn; for a control test.
    pub(super) forgetful: bool,
}

/// A batch: its number, its value and the weight of its loss.
pub(super) type Item = (u64, f64, f64);

#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// A hand-written unit instead of `AutoUnit`.
    pub(super) plain: bool,
    pub(super) accumulate: u64,
    pub(super) clip_norm: Option<f64>,
    pub(super) clip_value: Option<f64>,
    /// `NonFinite::Skip` instead of `NonFinite::Error`.
    pub(super) skip: bool,
    /// Half precision with loss scaling.
    pub(super) half: bool,
    /// Losses and norms stay on the device until somebody looks.
    pub(super) reads_later: bool,
    /// The module has running statistics.
    pub(super) statistics: bool,
    pub(super) average: Option<Averaging>,
    pub(super) plateau: Option<Plateau>,
    pub(super) freeze: Option<Thaw>,
    pub(super) rate: Rate,
    /// Patience of early stopping on a loss that never improves enough.
    pub(super) early_stopping: Option<u64>,
    pub(super) eval_every: Every,
    pub(super) steps_per_epoch: Option<u64>,
    pub(super) eval_steps: Option<u64>,
    pub(super) reading: Reading,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Rate {
    Constant,
    ByUpdate,
    ByEpoch,
}

/// How data reports its length and position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reading {
    /// Reports its number of batches.
    Counted,
    /// Does not report it.
    Uncounted,
    /// Does not report it, and seeks only to positions that it returned.
    Positioned,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Fit(Limit),
    Train(Limit),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    Steps(u64),
    Epochs(u64),
    Samples(u64),
}

/// A failure.
#[derive(Clone, Debug)]
pub(super) struct Strike {
    /// Number of points since the previous failure.
    pub(super) after: u64,
    pub(super) act: Act,
    /// Actions after the call has ended.
    pub(super) then: Vec<Between>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Act {
    Fail,
    Panic,
    Stop,
}

/// An action between two calls.
#[derive(Clone, Copy, Debug)]
pub(super) enum Between {
    /// A number of steps of the next call.
    Part(u64),
    /// A manual evaluation on some batches of other data, optionally resumable.
    Evaluate(u64, Resumable),
    /// A manual prediction, likewise.
    Predict(u64, Resumable),
    /// Resumes the last manual pass if it is resumable.
    Resume,
    /// A new unit and a new run restored from the current state.
    Restart,
    /// The same from the last save in the middle of a call.
    RestartFromSaved,
}

pub(super) type Resumable = bool;

impl Case {
    /// The same case with other values in the batches of weight zero. Returns `None` if there are
    /// no such batches or the module keeps statistics of all its inputs.
    pub(super) fn twin(&self) -> Option<Case> {
        let mut twin = self.clone();
        let items = twin.train.iter_mut().chain(&mut twin.eval);
        let mut weightless: Vec<_> = items.filter(|item| item.2 == 0.0).collect();
        if weightless.is_empty() || self.settings.statistics {
            return None;
        }
        weightless.iter_mut().for_each(|item| item.1 = 0.75);
        Some(twin)
    }

    #[cfg(test)]
    pub(super) fn forgetful(self) -> Case {
        Case { forgetful: true, ..self }
    }
}

impl Call {
    /// The call as a `fit` of at most `steps` steps in total, if it is one.
    pub(super) fn fit(self, settings: &Settings, steps: Option<u64>) -> Option<Fit> {
        let Call::Fit(limit) = self else { return None };
        let mut fit = match limit {
            Limit::Steps(n) => Fit::steps(n.min(steps.unwrap_or(n))),
            Limit::Epochs(n) => Fit::epochs(n),
            Limit::Samples(n) => Fit::samples(n),
        };
        if let (Limit::Epochs(_) | Limit::Samples(_), Some(steps)) = (limit, steps) {
            fit = fit.max_steps(steps);
        }
        if let Some(n) = settings.steps_per_epoch {
            fit = fit.steps_per_epoch(n);
        }
        if let Some(n) = settings.eval_steps {
            fit = fit.eval_steps(n);
        }
        Some(fit.eval_every(settings.eval_every))
    }

    /// The call as a `train` of at most `steps` steps in total.
    pub(super) fn train(self, settings: &Settings, steps: Option<u64>) -> Train {
        let (Call::Train(limit) | Call::Fit(limit)) = self;
        let mut train = match limit {
            Limit::Steps(n) => Train::steps(n.min(steps.unwrap_or(n))),
            Limit::Epochs(n) => Train::epochs(n),
            Limit::Samples(n) => Train::samples(n),
        };
        if let (Limit::Epochs(_) | Limit::Samples(_), Some(steps)) = (limit, steps) {
            train = train.max_steps(steps);
        }
        if let Some(n) = settings.steps_per_epoch {
            train = train.steps_per_epoch(n);
        }
        train
    }
}

/// The `n`-th manual pass, resumable by its name.
pub(super) fn resumable(n: usize) -> Evaluate {
    Evaluate::whole().resume(NAMES[n % NAMES.len()])
}

/// More names than a case has manual passes.
const NAMES: [&str; 32] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18",
    "19", "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31",
];

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { seed, settings, train, eval, calls, between, strikes, save_every, .. } = self;
        writeln!(f, "  case {seed}: {settings:?}")?;
        writeln!(f, "  train (number, value, weight): {train:?}")?;
        writeln!(f, "  eval: {eval:?}")?;
        for (n, all) in between.iter().enumerate() {
            if !all.is_empty() {
                writeln!(f, "  between: {all:?}")?;
            }
            if let Some(call) = calls.get(n) {
                writeln!(f, "  call {n}: {call:?}")?;
            }
        }
        for Strike { after, act, then } in strikes {
            writeln!(f, "  {act:?} after {after} points, then {then:?}")?;
        }
        write!(f, "  saved after every {save_every} events")
    }
}
