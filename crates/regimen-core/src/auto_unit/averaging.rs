//! Averaging the weights over updates: EMA and SWA.

use crate::BoxError;
use crate::engine::{Engine, Part};
use crate::saved::{StateDict, Stateful};

/// Settings of a running average of the weights; see [`AutoUnit::average`](crate::AutoUnit::average).
///
/// The first average is a copy. Evaluation and prediction use the averaged weights from then on;
/// training never does.
///
/// ```
/// use regimen_core::auto_unit::Averaging;
///
/// // PyTorch Image Models' usual average.
/// let ema = Averaging::ema(0.9999).ramp().every_nth(10);
/// // Stochastic weight averaging over the last epochs.
/// let swa = Averaging::swa().by_epoch().warm_up(15);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Averaging {
    method: Method,
    ramp: bool,
    by_epoch: bool,
    warm_up: u64,
    every: u64,
    take_buffers: bool,
    evaluate: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
    Ema { decay: f64 },
    Swa,
}

impl Averaging {
    /// The exponential moving average `a = decay * a + (1 - decay) * w`, at every update. A decay outside 0
    /// to 1 is an error when training starts.
    ///
    /// B. Polyak and A. Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992.
    pub fn ema(decay: f64) -> Self {
        Averaging::new(Method::Ema { decay })
    }

    /// The mean of the weights after each update from the end of the [warm-up](Averaging::warm_up)
    /// on.
    ///
    /// P. Izmailov and others, "Averaging Weights Leads to Wider Optima and Better Generalization",
    /// 2018. Its learning rate is `schedule::AnnealTo` of the crate `regimen`.
    pub fn swa() -> Self {
        Averaging::new(Method::Swa)
    }

    fn new(method: Method) -> Self {
        Averaging {
            method,
            ramp: false,
            by_epoch: false,
            warm_up: 0,
            every: 1,
            take_buffers: false,
            evaluate: true,
        }
    }

    /// Limits the decay of the `n`-th average to `(1 + n) / (10 + n)`, so that the first weights soon lose
    /// their influence. Only for [`ema`](Averaging::ema).
    pub fn ramp(self) -> Self {
        Averaging { ramp: true, ..self }
    }

    /// Averages at the end of epochs instead of updates; warm-up and cadence count epochs too.
    pub fn by_epoch(self) -> Self {
        Averaging { by_epoch: true, ..self }
    }

    /// Leaves out that many updates (or epochs) at the beginning of the run. Default: 0.
    pub fn warm_up(self, count: u64) -> Self {
        Averaging { warm_up: count, ..self }
    }

    /// Averages at every `count`-th update (or epoch) after the warm-up, beginning with the first. Default:
    /// 1. 0 is an error when training starts.
    pub fn every_nth(self, count: u64) -> Self {
        Averaging { every: count, ..self }
    }

    /// Copies buffers (running statistics) instead of averaging them.
    pub fn take_buffers(self) -> Self {
        Averaging { take_buffers: true, ..self }
    }

    /// Evaluates and predicts with the trained weights, not with the average.
    pub fn evaluate_raw(self) -> Self {
        Averaging { evaluate: false, ..self }
    }

    /// Rejects settings that cannot be used.
    pub(super) fn check(&self) -> Result<(), BoxError> {
        match self.method {
            Method::Ema { decay } if !(0.0..=1.0).contains(&decay) => {
                Err(format!("averaging: the decay is {decay}; give one from 0 to 1").into())
            }
            Method::Swa if self.ramp => Err("averaging: `ramp` is for `ema`, and this is `swa`".into()),
            _ if self.every == 0 => Err("averaging: every 0 updates is never; give 1 or more".into()),
            _ => Ok(()),
        }
    }

    /// The share by which the `n`-th average moves towards the weights; the first is a copy.
    fn share(&self, n: u64) -> f64 {
        match self.method {
            Method::Ema { decay } if self.ramp => 1.0 - decay.min((1 + n) as f64 / (10 + n) as f64),
            Method::Ema { decay } => 1.0 - decay,
            Method::Swa => 1.0 / n as f64,
        }
    }
}

/// The event that an [`Averaging`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// An update, by the number of updates complete before it.
    Update(u64),
    /// An epoch, by the number of epochs complete before it.
    Epoch(u64),
}

/// An average under way.
#[derive(Debug)]
pub(super) struct Average<W> {
    pub(super) averaging: Averaging,
    /// `None` during the warm-up.
    pub(super) weights: Option<W>,
    /// Number of averaged updates (or epochs).
    pub(super) taken: u64,
    /// Whether the weights are from a checkpoint whose count is not loaded yet.
    pub(super) is_loaded: bool,
}

impl<W> Average<W> {
    pub(super) fn new(averaging: Averaging) -> Self {
        Average { averaging, weights: None, taken: 0, is_loaded: false }
    }

    /// The averaged weights, if there are any and evaluation uses them.
    pub(super) fn evaluated(&mut self) -> Option<&mut W> {
        self.weights.as_mut().filter(|_| self.averaging.evaluate)
    }

    /// Adds the weights of `engine` if they are due.
    pub(super) fn add<E: Engine<Weights = W>>(&mut self, engine: &E, at: Counted) -> Result<(), BoxError> {
        let Averaging { by_epoch, warm_up, every, take_buffers, .. } = self.averaging;
        let (Counted::Update(count) | Counted::Epoch(count)) = at;
        let is_due = matches!(at, Counted::Epoch(_)) == by_epoch
            && warm_up <= count
            && (count - warm_up).is_multiple_of(every);
        if !is_due {
            return Ok(());
        }
        let share = self.averaging.share(self.taken + 1);
        match &mut self.weights {
            Some(weights) => engine.blend(weights, share, if take_buffers { 1.0 } else { share })?,
            None => self.weights = Some(engine.weights()?),
        }
        self.taken += 1;
        Ok(())
    }
}

/// Runs `f` on `engine` with `weights` instead of its own. They are exchanged back when `f` returns or
/// panics.
pub(super) fn with_weights<E: Engine, R>(
    engine: &mut E,
    weights: Option<&mut E::Weights>,
    f: impl FnOnce(&mut E) -> R,
) -> R {
    let Some(weights) = weights else { return f(engine) };
    struct Swapped<'a, E: Engine>(&'a mut E, &'a mut E::Weights);
    impl<E: Engine> Drop for Swapped<'_, E> {
        fn drop(&mut self) {
            self.0.swap_weights(self.1);
        }
    }
    engine.swap_weights(weights);
    let swapped = Swapped(engine, weights);
    f(&mut *swapped.0)
}

/// The averaged weights as a part of a checkpoint: laid out as the module's, and empty during the warm-up.
pub(super) struct AveragePart<'a, E: Engine> {
    pub(super) engine: &'a E,
    pub(super) average: &'a mut Average<E::Weights>,
}

impl<E: Engine> Stateful for AveragePart<'_, E> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        self.average.weights.as_ref().map_or_else(|| Ok(StateDict::new()), |weights| weights.state_dict())
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.average.is_loaded = true;
        self.average.weights = match dict.is_empty() {
            true => None,
            false => {
                let mut weights = self.engine.weights()?;
                weights.load_state_dict(dict)?;
                Some(weights)
            }
        };
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        if dict.is_empty() { Ok(()) } else { self.engine.check_state(Part::Module, dict) }
    }

    fn is_weights(&self) -> bool {
        true
    }
}
