//! The weights of the best evaluation, in memory.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Event, Events, saved_best};
use crate::engine::Engine;
use crate::metric::{Best, Goal, Key};
use crate::run::Report;
use crate::saved::{StateDict, Stateful};
use crate::state::{EntryPoint, Phase};
use crate::{AutoUnit, BoxError, Callback, State, Task};

/// Keeps the weights of the best evaluation of `fit` in memory, to put them back afterwards. Of equal values the
/// latest counts, and NaN never does. Evaluations by hand are not looked at.
///
/// A clone is a handle to the same weights. They are a copy on the host, and are saved in checkpoints. They are
/// those that were [evaluated](AutoUnit::evaluated_weights): the [average](AutoUnit::average), if there is one.
///
/// ```
/// # use regimen::auto_unit::EVAL_LOSS;
/// # use regimen::data::Data;
/// # use regimen::engine::Engine;
/// # use regimen::{AutoUnit, BoxError, Fit, Run, Task};
/// use regimen::callback::BestWeights;
///
/// # fn example<E: Engine, T: Task<E>>(
/// #     mut unit: AutoUnit<E, T>,
/// #     train: &impl Data<Batch = T::Batch>,
/// #     valid: &impl Data<Batch = T::Batch>,
/// # ) -> Result<(), BoxError> {
/// let best = BestWeights::min(EVAL_LOSS);
/// Run::new(&mut unit).callback(best.clone()).fit(train, valid, Fit::epochs(20))?;
/// best.restore(&mut unit)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct BestWeights {
    key: Key,
    goal: Goal,
    kept: Arc<Mutex<Option<Kept>>>,
}

#[derive(Debug)]
struct Kept {
    best: Best,
    weights: StateDict,
}

impl BestWeights {
    /// Of the smallest value of `key`.
    pub fn min(key: Key) -> Self {
        BestWeights { key, goal: Goal::Min, kept: Arc::default() }
    }

    /// Of the largest value of `key`.
    pub fn max(key: Key) -> Self {
        BestWeights { key, goal: Goal::Max, kept: Arc::default() }
    }

    /// The direction of better values.
    pub(crate) fn goal(&self) -> Goal {
        self.goal
    }

    /// The metric.
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// The best value, with its epoch and step. Returns `None` before the first evaluation.
    pub fn best(&self) -> Option<Best> {
        self.lock().as_ref().map(|kept| kept.best.clone())
    }

    /// Puts the best weights into `unit` by [`AutoUnit::load_weights`], so that an evaluation uses them. Returns
    /// `false` and changes nothing if there are none.
    pub fn restore<E: Engine, T: Task<E>>(&self, unit: &mut AutoUnit<E, T>) -> Result<bool, BoxError> {
        match &*self.lock() {
            None => Ok(false),
            Some(kept) => unit.load_weights(&kept.weights).map(|()| true),
        }
    }

    /// Takes the lock, also after a panic: no holder leaves half a change.
    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, dict: &StateDict) -> Result<Option<Kept>, BoxError> {
        if dict.is_empty() {
            return Ok(None);
        }
        let best = saved_best::read(dict, &self.key, self.goal)?;
        Ok(Some(Kept { best, weights: dict.under("weights") }))
    }
}

impl<E: Engine, T: Task<E>> Callback<AutoUnit<E, T>> for BestWeights {
    fn name(&self) -> Cow<'static, str> {
        Cow::Owned(format!("BestWeights({} {})", self.goal, self.key))
    }

    fn events(&self) -> Events {
        Events::of(&[Event::EvalEpochEnd])
    }

    fn on_event(&mut self, _: Event, state: &mut State, unit: &mut AutoUnit<E, T>) -> Result<(), BoxError> {
        if state.entry_point() != EntryPoint::Fit {
            return Ok(());
        }
        let epochs = state.eval_progress().epochs;
        let metric = state.metrics(Phase::Eval).get(&self.key);
        let value = metric.and_then(|metric| metric.in_epoch(epochs)).ok_or_else(|| {
            format!(
                "best weights: `{}` was not logged in this evaluation; log it, or watch another",
                self.key
            )
        })?;
        let mut kept = self.lock();
        let is_worse = |kept: &Kept| self.goal.is_better(kept.best.value, value);
        let mut is_best = !value.is_nan() && !kept.as_ref().is_some_and(is_worse);
        if let Some(peers) = state.peers() {
            // A callback may log another value on each rank.
            is_best = peers.ask_first(is_best)?;
        }
        if is_best {
            let best = Best::now(self.key.clone(), self.goal, value, state);
            *kept = Some(Kept { best, weights: unit.evaluated_weights()? });
        }
        Ok(())
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }

    fn sum_up(&mut self, report: &mut Report) {
        self.best().into_iter().for_each(|best| report.add_best(best));
    }
}

/// The best value with its epoch and step, and the weights; empty before the first evaluation.
impl Stateful for BestWeights {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        if let Some(Kept { best, weights }) = &*self.lock() {
            saved_best::insert(&mut dict, best)?;
            dict.insert_all("weights", weights.clone())?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let read = self.read(dict)?;
        *self.lock() = read;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.read(dict).map(drop)
    }
}
