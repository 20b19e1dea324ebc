//! A sweep over learning rates.

use super::{LearningRateCurve, LearningRatePoint, refuse_ranks};
use crate::auto_unit::{TRAIN_LOSS, TRAIN_SKIPPED};
use crate::callback::{Event, Events, Every};
use crate::data::Data;
use crate::engine::Engine;
use crate::run::Train;
use crate::state::Phase;
use crate::{AutoUnit, BoxError, Callback, Error, Run, State, Task};

/// The part of the average loss that one more loss leaves. It is fastai's and Lightning's.
const SMOOTHING: f64 = 0.98;

/// Trains for some updates, each at a larger learning rate than the one before, and records the loss.
///
/// The loss falls at first, and rises where the rate is too large. A rate at which it falls fast is a good one: see
/// [`LearningRateCurve::suggestion`]. L. N. Smith, "Cyclical learning rates for training neural networks", 2017.
///
/// The sweep is a [dry run](Run::dry_run): weights, optimizer and progress are put back. All groups are trained at the
/// rate of the sweep, times their [factors](AutoUnit::scale_learning_rate). Schedules and plateaus have no part in it,
/// and stay as they are. Everything else is that of the unit: accumulation, clipping, precision.
///
/// It ends at once where the loss diverges: where its average is [far above](LearningRateFinder::stop_above) its best,
/// or where a loss, a gradient or a weight is not finite. That is no error, unless it is so in the first update.
///
/// ```
/// # use regimen::data::Data;
/// # use regimen::engine::Engine;
/// # use regimen::{AutoUnit, BoxError, Run, Task};
/// use regimen::finder::LearningRateFinder;
///
/// # fn example<E: Engine, T: Task<E>>(
/// #     mut run: Run<'_, AutoUnit<E, T>>,
/// #     train: &impl Data<Batch = T::Batch>,
/// # ) -> Result<(), BoxError> {
/// let curve = LearningRateFinder::new().find(&mut run, train)?;
/// curve.figure().save_svg("rates.svg")?;
/// let rate = curve.suggestion().ok_or("the loss falls at no rate")?;
/// run.unit_mut().set_learning_rate(rate);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct LearningRateFinder {
    low: f64,
    high: f64,
    updates: u64,
    is_linear: bool,
    stop_above: f64,
}

impl LearningRateFinder {
    /// From 1e-7 to 1 in 100 updates, each rate the same multiple of the one before.
    pub const fn new() -> Self {
        LearningRateFinder { low: 1e-7, high: 1.0, updates: 100, is_linear: false, stop_above: 4.0 }
    }

    /// Rate of the first update. Default: 1e-7.
    pub const fn low(mut self, rate: f64) -> Self {
        self.low = rate;
        self
    }

    /// Rate of the last update. Default: 1.
    pub const fn high(mut self, rate: f64) -> Self {
        self.high = rate;
        self
    }

    /// Number of updates, at least 2. Default: 100. The data are passed over as often as that needs.
    pub const fn updates(mut self, n: u64) -> Self {
        self.updates = n;
        self
    }

    /// Makes the difference of two rates the same everywhere, instead of their quotient.
    pub const fn linear(mut self) -> Self {
        self.is_linear = true;
        self
    }

    /// Ends the sweep where the average loss is above `factor` times its best since the first tenth of the updates.
    /// Default: 4. With an infinite factor only a number that is not finite ends it. A best below 0 counts with its size:
    /// at a factor of 4 the bound is the best plus 3 times its size.
    pub const fn stop_above(mut self, factor: f64) -> Self {
        self.stop_above = factor;
        self
    }

    /// Sweeps over the rates on `data`.
    ///
    /// Rates that are not positive, finite and rising, fewer than 2 updates, a factor of less than 1, and a run of
    /// several ranks are errors. So is whatever fails in the training and is not about a number that is not finite.
    pub fn find<E, T, D>(
        self,
        run: &mut Run<'_, AutoUnit<E, T>>,
        data: &D,
    ) -> Result<LearningRateCurve, Error>
    where
        E: Engine,
        T: Task<E>,
        D: Data<Batch = T::Batch> + ?Sized,
    {
        self.check()?;
        refuse_ranks("LearningRateFinder", run)?;
        let mut sweep = Sweep {
            finder: self,
            points: Vec::new(),
            losses: Vec::new(),
            average: 0.0,
            updates: 0,
            has_loss: false,
        };
        let ran = run.dry_run(|mut dry| {
            dry.unit_mut().override_learning_rate(Some(Box::new(move |updates| self.rate(updates))));
            let mut dry = dry.callback(Watch(&mut sweep));
            let ran = dry.train(data, Train::until_stopped());
            dry.unit_mut().override_learning_rate(None);
            ran
        })?;
        match ran {
            Err(error) if !error.is_not_finite() || sweep.points.is_empty() => Err(error),
            Ok(report) if sweep.points.is_empty() => Err(Error::config(format!(
                "`LearningRateFinder`: no update was made before the call was {}",
                report.ended
            ))),
            _ => Ok(LearningRateCurve::new(sweep.points, self.updates, self.is_linear)),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let LearningRateFinder { low, high, updates, stop_above, .. } = *self;
        let refused = |what: String| Err(Error::config(format!("`LearningRateFinder`: {what}")));
        match () {
            () if !(low > 0.0 && low < high && high.is_finite()) => {
                refused(format!("rates from {low} to {high}; give a positive `low`, and a greater `high`"))
            }
            () if updates < 2 => refused(format!("a sweep of {updates} updates; give at least 2")),
            () if stop_above.is_nan() || stop_above < 1.0 => {
                refused(format!("`stop_above` is {stop_above}; give a factor of at least 1"))
            }
            () => Ok(()),
        }
    }

    /// The rate after `updates` updates.
    fn rate(&self, updates: u64) -> f64 {
        let part = updates as f64 / (self.updates - 1) as f64;
        match self.is_linear {
            _ if updates == 0 => self.low,
            _ if self.updates <= updates + 1 => self.high,
            true => self.low + part * (self.high - self.low),
            false => self.low * (self.high / self.low).powf(part),
        }
    }
}

impl Default for LearningRateFinder {
    fn default() -> Self {
        LearningRateFinder::new()
    }
}

/// A sweep under way.
struct Sweep {
    finder: LearningRateFinder,
    points: Vec<LearningRatePoint>,
    /// The losses of the window under way.
    losses: Vec<f64>,
    /// The exponential average of the losses, which begins with 0.
    average: f64,
    /// Updates seen.
    updates: u64,
    /// Whether a loss or a skipped update was logged in the epoch under way.
    has_loss: bool,
}

impl Sweep {
    /// Adds the point of an update that was made.
    fn add(&mut self, state: &mut State) {
        let loss = self.losses.iter().sum::<f64>() / self.losses.len() as f64;
        self.losses.clear();
        if !loss.is_finite() {
            // Of an average over many steps.
            return state.pause("the loss is not finite");
        }
        self.average = SMOOTHING * self.average + (1.0 - SMOOTHING) * loss;
        let smoothed = self.average / (1.0 - SMOOTHING.powf(self.points.len() as f64 + 1.0));
        self.points.push(LearningRatePoint { rate: self.finder.rate(self.updates - 1), loss, smoothed });
        // The average of the first tenth is that of few batches.
        let judged = self.points.iter().skip(self.finder.updates as usize / 10);
        let best = judged.map(|point| point.smoothed).fold(f64::INFINITY, f64::min);
        if best + (self.finder.stop_above - 1.0) * best.abs() < smoothed {
            state.pause("the loss diverges");
        } else if self.finder.updates <= self.updates {
            state.pause("the sweep is complete");
        }
    }
}

/// Watches a sweep.
struct Watch<'s>(&'s mut Sweep);

impl<E: Engine, T: Task<E>> Callback<AutoUnit<E, T>> for Watch<'_> {
    fn events(&self) -> Events {
        Event::TrainStepEnd | Event::TrainEpochEnd
    }

    fn metrics_every(&self) -> Every {
        Every::steps(1)
    }

    fn on_train_step_end(&mut self, state: &mut State, unit: &mut AutoUnit<E, T>) -> Result<(), BoxError> {
        let Watch(sweep) = self;
        let (step, metrics) = (state.train_progress().steps, state.metrics(Phase::Train));
        let logged = |key| metrics.get(key)?.in_step(step);
        let (loss, skipped) = (logged(TRAIN_LOSS), logged(TRAIN_SKIPPED));
        sweep.has_loss |= loss.or(skipped).is_some();
        match (loss, skipped) {
            // In half precision the scale of losses was too large. The next batch has the same rate.
            (Some(loss), Some(_)) if loss.is_finite() && unit.gradient_scale().is_some() => {
                sweep.losses.clear()
            }
            (_, Some(_)) => state.pause("the loss is not finite"),
            (loss, None) => sweep.losses.extend(loss),
        }
        if sweep.losses.iter().any(|loss| !loss.is_finite()) {
            state.pause("the loss is not finite");
        } else if sweep.updates < state.train_progress().updates {
            sweep.updates = state.train_progress().updates;
            sweep.add(state);
        }
        Ok(())
    }

    fn on_train_epoch_end(&mut self, state: &mut State, _unit: &mut AutoUnit<E, T>) -> Result<(), BoxError> {
        let Watch(sweep) = self;
        // The end of an epoch makes the update of a window that is not full.
        if sweep.updates < state.train_progress().updates {
            sweep.updates = state.train_progress().updates;
            sweep.add(state);
        }
        // It would never end.
        match std::mem::take(&mut sweep.has_loss) {
            true => Ok(()),
            false => Err("an epoch without a loss: the weight of each is 0".into()),
        }
    }
}
