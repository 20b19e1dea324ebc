//! Restores of a run, and what a program needs that saves by itself.

use super::{Moment, Restored, Run, Saver, Which, saver};
use crate::callback::dispatch::CallbackStates;
use crate::data::Rank;
use crate::error::ErrorKind;
use crate::error::guard::guard;
use crate::saved::StateDict;
use crate::{BoxError, Error};

impl<U: ?Sized> Run<'_, U> {
    /// Restores the latest whole checkpoint of the saver. Returns `None` if nothing was saved yet, so
    /// one program both starts and resumes a run.
    pub fn restore_latest(&mut self) -> Result<Option<Restored>, Error> {
        self.restore_if_any(Which::Latest)
    }

    /// Restores the best checkpoint of the saver, by the metric that it keeps the best of. It is an
    /// error if there is none.
    ///
    /// ```
    /// # use regimen_core::{Error, Run};
    /// # use regimen_core::run::Saver;
    /// # use regimen_core::saved::AppState;
    /// # fn example(unit: &mut impl AppState, saver: impl Saver) -> Result<(), Error> {
    /// let mut run = Run::new(unit).saver(saver);
    /// run.restore_best()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn restore_best(&mut self) -> Result<Restored, Error> {
        self.restore(Which::Best)
    }

    /// Restores the checkpoint that `which` selects. It is an error if there is none, or if the run has
    /// no saver. After an error, run and unit are as they were.
    pub fn restore(&mut self, which: Which<'_>) -> Result<Restored, Error> {
        let restored = self.restore_if_any(which)?;
        restored.ok_or_else(|| Error::config("`restore`: the saver has nothing to restore"))
    }

    fn restore_if_any(&mut self, which: Which<'_>) -> Result<Option<Restored>, Error> {
        if self.saver.is_none() {
            return Err(Error::config("`restore`: the run has no saver; give it one with `Run::saver`"));
        }
        self.state.update_rank();
        let restored = self
            .with_saver_of_any_rank(|saver, moment| saver.restore(which, moment))
            .and_then(|restored| self.confirm(restored))
            .inspect_err(|error| self.abort(error))?
            .flatten();
        for skipped in restored.iter().flat_map(|restored| &restored.skipped) {
            self.state.notify(format!("passed over {skipped}"));
        }
        if restored.is_some() {
            self.restored.clone_from(&restored);
        }
        Ok(restored)
    }

    /// Restores the latest checkpoint after an error about a number that
    /// [is not finite](Error::is_not_finite), for the next call to go on from there. It passes over the batch of
    /// the step that is to blame: reads it and makes no step of it. What is passed over is saved, so a restarted
    /// run passes over the same. A notice says so.
    ///
    /// Returns `None` and changes nothing for other errors, if [no step](Error::not_finite_step) of the newest
    /// epochs is to blame, and if there is no checkpoint.
    ///
    /// Of several ranks each has other batches, so there it is an error.
    pub fn roll_back(&mut self, error: &Error) -> Result<Option<Restored>, Error> {
        let step = error.not_finite_step();
        let Some((step, batch)) = step.and_then(|step| Some((step, self.state.batch_of_step(step)?))) else {
            return Ok(None);
        };
        if self.state.rank().count != 1 {
            return Err(Error::config("`roll_back`: not among several ranks, whose batches differ"));
        }
        let mut passed_over = self.state.passed_over.clone();
        let Some(restored) = self.restore_latest()? else { return Ok(None) };
        let (from, (epoch, n)) = (restored.step, batch);
        if from <= step {
            passed_over.insert(batch);
            self.state.notify(format!(
                "rolled back to step {from}; batch {n} of epoch {epoch} is passed over: {error:#}"
            ));
        } else {
            self.state.notify(format!("rolled back to step {from}, which is after step {step}: {error:#}"));
        }
        // Those since the checkpoint are not in it.
        self.state.passed_over.append(&mut passed_over);
        Ok(Some(restored))
    }

    /// Goes back to where the ranks that are left can go on together, after a call that failed with a
    /// [`PeerLost`](crate::peers::PeerLost): in training to the first step of the accumulation window under way, because
    /// the gradients that a lost rank held for it are gone, and in an evaluation of `fit` to its begin. Everything else
    /// is between two steps. Returns the number of training steps that are made again.
    ///
    /// The callbacks do not hear of these steps twice. Every rank that is left calls it, and compares its
    /// [`standing`](Run::standing). It does nothing unless the peers are [elastic](crate::peers::Peers::is_elastic). `survive` of
    /// `regimen-dist` calls it.
    ///
    /// The part of a lost rank in the training metrics of the epoch under way is lost: see
    /// [`State::epoch_samples`](crate::State::epoch_samples).
    pub fn rewind(&mut self) -> u64 {
        self.state.update_rank();
        if self.state.is_elastic() { self.state.rewind() } else { 0 }
    }

    /// The place of the run, for ranks to compare after [`rewind`](Run::rewind): ranks with the same text can go on
    /// together. Returns `None` if this rank cannot go on and must be [restored](Run::restore_latest). These are the cases:
    ///
    /// - an accumulation window of several steps, in which running statistics were exchanged or an evaluation was made,
    /// - an evaluation under way that was begun before a restart, or that goes on by name,
    /// - the end of an epoch at which weights were averaged,
    /// - a window in which a checkpoint was restored, or in which a task with a [state](crate::Task::stateful) has seen steps,
    /// - a [sharded](crate::AutoUnit::shard_optimizer) optimizer,
    /// - a callback with a state, such as early stopping, that was on the first rank alone, and the first rank was lost,
    /// - peers that are not [elastic](crate::peers::Peers::is_elastic).
    pub fn standing(&self) -> Option<String> {
        let has_lost_state = self.state.has_become_first() && self.callbacks.has_state_of_first();
        if has_lost_state { None } else { self.state.standing() }
    }

    /// The checkpoint restored last. Returns `None` if nothing was restored.
    pub fn restored(&self) -> Option<&Restored> {
        self.restored.as_ref()
    }

    /// The saved state apart from the unit's parts: progress, metrics in flight, the seed, a final
    /// stop, and the state of every callback. For programs that save by themselves. Logs are made durable.
    pub fn run_state(&mut self) -> Result<StateDict, BoxError> {
        let saved = saver::run_state(&self.state, &mut self.callbacks)?;
        self.callbacks.before_commit().into_iter().try_for_each(|work| work())?;
        Ok(saved)
    }

    /// Restores the state that [`run_state`](Run::run_state) returned. Callbacks without saved state,
    /// and saved state without a callback, become notices. After an error the run is as it was.
    pub fn load_run_state(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        saver::load_run_state(&mut self.state, &mut self.callbacks, dict, Rank::default())
    }

    /// Calls the saver, if there is one and it saves on this rank.
    pub(crate) fn with_saver<R>(
        &mut self,
        call: impl FnOnce(&mut dyn Saver, &mut Moment<'_>) -> Result<R, BoxError>,
    ) -> Result<Option<R>, Error> {
        match &self.saver {
            Some(saver) if saver.ranks.contain(self.state.rank()) => self.with_saver_of_any_rank(call),
            _ => Ok(None),
        }
    }

    /// Calls the saver, if there is one.
    fn with_saver_of_any_rank<R>(
        &mut self,
        call: impl FnOnce(&mut dyn Saver, &mut Moment<'_>) -> Result<R, BoxError>,
    ) -> Result<Option<R>, Error> {
        let Run { saver: Some(saver), state, unit, callbacks, .. } = self else { return Ok(None) };
        let result = guard(|| saver.call(state, unit, callbacks, call));
        result.map(Some).map_err(|caught| caught.at(&self.state, ErrorKind::State))
    }
}
