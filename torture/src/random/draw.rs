//! Random generation of a case from its seed.

use regimen::auto_unit::{Averaging, EVAL_LOSS, Plateau, TRAIN_LOSS, Thaw};
use regimen::callback::Every;
use regimen::random::{Random, keyed};
use regimen::state::Phase;

use super::case::{Act, Between, Call, Case, Item, Limit, Rate, Reading, Settings, Strike};

impl Case {
    /// Draws the case of `seed`.
    pub(super) fn draw(seed: u64) -> Case {
        let draw = &mut Draw(Random::new(keyed(seed, "case", 0, 0)));
        let mut settings = Settings::draw(draw);
        let nan = !settings.statistics;
        let (batches, evaluated) = (2 + draw.below(4), 1 + draw.below(3));
        let mut train: Vec<Item> = (0..batches).map(|id| draw.item(id, nan)).collect();
        let mut eval: Vec<Item> = (0..evaluated).map(|id| draw.item(50 + id, nan)).collect();
        // A schedule that follows a metric needs a value per epoch: no two weights of zero in a row.
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
        // From a stream of its own, so that a seed stays the case that it was.
        settings.reads_later = Draw(Random::new(keyed(seed, "reads later", 0, 0))).one_in(2);
        Case { seed, settings, train, eval, calls, between, strikes, save_every, forgetful: false }
    }
}

impl Settings {
    fn draw(draw: &mut Draw) -> Settings {
        let plain = draw.one_in(5);
        let skip = draw.one_in(3);
        let every = 1 + draw.below(2);
        let average = match draw.below(6) {
            0 => Some(Averaging::ema(0.5)),
            1 => Some(Averaging::ema(0.9).ramp().warm_up(1).every_nth(every)),
            2 => Some(Averaging::swa().by_epoch().every_nth(every)),
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
            reads_later: false,
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

/// A generator of case parts.
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

    /// A batch. Some have weight zero, and of those some have the value NaN.
    fn item(&mut self, id: u64, nan: bool) -> Item {
        let (x, weight) = ((self.0.uniform() * 64.0).round() / 16.0 - 2.0, self.below(5) as f64);
        if weight == 0.0 && nan && self.one_in(2) { (id, f64::NAN, 0.0) } else { (id, x, weight) }
    }

    /// Actions between undisturbed calls.
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
