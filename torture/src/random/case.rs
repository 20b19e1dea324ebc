//! What is drawn from a seed: a run, and what disturbs it.

use std::fmt;

use regimen::{
    Averaging, EVAL_LOSS, Evaluate, Every, Fit, Phase, Plateau, Random, TRAIN_LOSS, Thaw, Train, keyed,
};

/// A run, and what disturbs it.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) seed: u64,
    pub(super) settings: Settings,
    pub(super) train: Vec<Item>,
    pub(super) eval: Vec<Item>,
    pub(super) calls: Vec<Call>,
    /// What is done before each call, and behind the last.
    pub(super) between: Vec<Vec<Between>>,
    pub(super) strikes: Vec<Strike>,
    /// After how many events the run is saved in mid-call, again and again.
    pub(super) save_every: u64,
    /// Accumulation windows are lost at a restart: never drawn.
    pub(super) forgetful: bool,
}

/// A batch: its number, what the loss is of, and the weight of the loss.
pub(super) type Item = (u64, f64, f64);

#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// A unit written by hand in place of `AutoUnit`.
    pub(super) plain: bool,
    pub(super) accumulate: u64,
    pub(super) clip_norm: Option<f64>,
    pub(super) clip_value: Option<f64>,
    /// `NonFinite::Skip` in place of `NonFinite::Error`.
    pub(super) skip: bool,
    /// Half precision, with a scale of losses.
    pub(super) half: bool,
    /// The module has running statistics.
    pub(super) statistics: bool,
    pub(super) average: Option<Averaging>,
    pub(super) plateau: Option<Plateau>,
    pub(super) freeze: Option<Thaw>,
    pub(super) rate: Rate,
    /// The patience of early stopping on a loss that never improves enough.
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

/// How data tells where it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reading {
    /// It says how many batches it has.
    Counted,
    /// It does not.
    Uncounted,
    /// It does not, and cannot seek but to a position it has given.
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

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub(super) struct Strike {
    /// After how many points of the run since the one before.
    pub(super) after: u64,
    pub(super) act: Act,
    /// What is done when the call has ended.
    pub(super) then: Vec<Between>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Act {
    Fail,
    Panic,
    Stop,
}

/// What is done between two calls.
#[derive(Clone, Copy, Debug)]
pub(super) enum Between {
    /// So many steps of the call that comes next.
    Part(u64),
    /// An evaluation by hand, on so many batches of other data; it may be one to be gone on with.
    Evaluate(u64, Resumable),
    /// A prediction by hand, likewise.
    Predict(u64, Resumable),
    /// Goes on with the pass by hand that was begun last, if that was said of it.
    Resume,
    /// A new unit and a new run take up what this one has come to.
    Restart,
    /// They take up what was last saved in the middle of a call.
    RestartFromSaved,
}

pub(super) type Resumable = bool;

impl Case {
    pub(super) fn draw(seed: u64) -> Case {
        let draw = &mut Draw(Random::new(keyed(seed, "case", 0, 0)));
        let settings = Settings::draw(draw);
        let nan = !settings.statistics;
        let (batches, evaluated) = (2 + draw.below(4), 1 + draw.below(3));
        let mut train: Vec<Item> = (0..batches).map(|id| draw.item(id, nan)).collect();
        let mut eval: Vec<Item> = (0..evaluated).map(|id| draw.item(50 + id, nan)).collect();
        // A rate that follows a metric needs one in every epoch, and no two weights of zero in a row
        // see to that.
        let needed = settings.plateau.is_some() || settings.early_stopping.is_some();
        for items in [&mut train, &mut eval] {
            for (n, item) in items.iter_mut().enumerate() {
                if item.2 == 0.0 && needed && n != 1 {
                    (item.1, item.2) = (0.5, 1.0);
                }
            }
        }
        if settings.skip && nan && !needed && draw.one_in(2) {
            train[0] = (0, f64::NAN, 1.0);
        }
        let (mut calls, mut steps, mut epochs) = (Vec::new(), 0, 0);
        for _ in 0..1 + draw.below(3) {
            (steps, epochs) = (steps + 1 + draw.below(6), epochs + 1 + draw.below(2));
            let limit = match draw.below(5) {
                0 | 1 => Limit::Steps(steps),
                2 | 3 => Limit::Epochs(epochs),
                _ => Limit::Samples(2 * steps),
            };
            calls.push(if draw.one_in(4) { Call::Train(limit) } else { Call::Fit(limit) });
        }
        let between = (0..=calls.len()).map(|_| draw.quiet_between()).collect();
        let strikes = (0..1 + draw.below(4)).map(|_| {
            let most = if draw.one_in(2) { 25 } else { 150 };
            let (after, act) = (1 + draw.below(most), draw.pick(&[Act::Fail, Act::Panic, Act::Stop]));
            Strike { after, act, then: draw.between() }
        });
        let strikes = strikes.collect();
        let save_every = 1 + draw.below(30);
        Case { seed, settings, train, eval, calls, between, strikes, save_every, forgetful: false }
    }

    /// The same case with other values in the batches that have no weight; none where there are no
    /// such batches, or where the module keeps statistics of all it sees.
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
    /// The call as one of `fit`, if it is one, that makes at most `steps` in all.
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

    /// The call as one of `train` that makes at most `steps` in all.
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

/// The `n`-th pass by hand, which goes on with what was made of it.
pub(super) fn resumable(n: usize) -> Evaluate {
    let _ = NAMES[n % NAMES.len()];
    Evaluate::whole()
}

/// More than a case makes passes by hand.
const NAMES: [&str; 32] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18",
    "19", "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31",
];

impl Settings {
    fn draw(draw: &mut Draw) -> Settings {
        let plain = draw.one_in(5);
        let skip = draw.one_in(3);
        let every = 1 + draw.below(2);
        let average = match draw.below(6) {
            0 => Some(Averaging::ema(0.5)),
            1 => Some(Averaging::ema(0.9).ramp().warm_up(1).every(every)),
            2 => Some(Averaging::swa().by_epoch().every(every)),
            _ => None,
        };
        let plateau = match draw.below(6) {
            0 => Some(Plateau::min(EVAL_LOSS).patience(draw.below(2)).factor(0.5).threshold_absolute(0.1)),
            1 => Some(Plateau::min(TRAIN_LOSS).phase(Phase::Train).patience(0).factor(0.5)),
            _ => None,
        };
        let freeze = match draw.below(6) {
            0 => Some(Thaw::AtUpdate(1 + draw.below(3))),
            1 => Some(Thaw::AtEpoch(1)),
            2 => Some(Thaw::Never),
            _ => None,
        };
        let (n, updates, epochs) = (1 + draw.below(5), 1 + draw.below(3), 1 + draw.below(2));
        let eval_every = draw.pick(&[
            Every::steps(n),
            Every::updates(updates),
            Every::epochs(epochs),
            Every::steps(n).or(Every::epochs(epochs)),
            Every::updates(updates).or(Every::epochs(epochs)),
            Every::steps(n).or(Every::updates(updates)),
        ]);
        Settings {
            plain,
            accumulate: 1 + draw.below(4),
            clip_norm: draw.maybe(3, 0.5),
            clip_value: draw.maybe(5, 0.1),
            skip,
            half: draw.one_in(8),
            statistics: draw.one_in(4),
            average,
            plateau,
            freeze,
            rate: draw.pick(&[Rate::Constant, Rate::ByUpdate, Rate::ByEpoch]),
            early_stopping: draw.maybe(4, 0).map(|_: u64| 1 + draw.below(3)),
            eval_every,
            steps_per_epoch: draw.maybe(2, 0).map(|_: u64| 2 + draw.below(3)),
            eval_steps: draw.maybe(4, 2),
            reading: draw.pick(&[Reading::Counted, Reading::Uncounted, Reading::Positioned]),
        }
    }
}

/// Draws from a seed.
struct Draw(Random);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0.below(n)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn maybe<T>(&mut self, one_in: u64, value: T) -> Option<T> {
        self.one_in(one_in).then_some(value)
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }

    /// A batch; some have no weight, and of those some a value that is no number.
    fn item(&mut self, id: u64, nan: bool) -> Item {
        let (x, weight) = ((self.0.uniform() * 64.0).round() / 16.0 - 2.0, self.below(5) as f64);
        if weight == 0.0 && nan && self.one_in(2) { (id, f64::NAN, 0.0) } else { (id, x, weight) }
    }

    /// What is done between calls that nothing has disturbed.
    fn quiet_between(&mut self) -> Vec<Between> {
        let mut all = Vec::new();
        if self.one_in(4) {
            all.push(Between::Part(1 + self.below(4)));
        }
        if self.one_in(2) {
            all.extend(self.between());
        }
        all
    }

    fn between(&mut self) -> Vec<Between> {
        let mut all = Vec::new();
        for _ in 0..self.below(4) {
            all.push(match self.below(7) {
                0 => Between::Evaluate(1 + self.below(3), self.one_in(2)),
                1 => Between::Predict(1 + self.below(3), self.one_in(2)),
                2 | 3 => Between::Resume,
                4 | 5 => Between::Restart,
                _ => Between::RestartFromSaved,
            });
        }
        all
    }
}

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
