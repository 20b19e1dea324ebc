//! The checkpointer in the seat of the saver: what it does at each event.
//!
//! ```text
//! begin              take the lock of the run directory; to train, open the directory, or refuse it
//! train start        report what came of the last save
//! step, epoch, and   report what came of the last save
//! evaluation ends    take what was measured
//!                    save, if a save is due
//! train end          save, unless nothing happened since the last save; wait until it is durable
//!                    put the best back, if asked to
//! error              wait; save for the post-mortem
//! ```

use std::sync::Arc;

use regimen_core::callback::{Event, Events};
use regimen_core::error::ErrorKind;
use regimen_core::run::{Moment, Report, Restored, Saver, Which};
use regimen_core::saved::{AppState, weight_parts, with_spares};
use regimen_core::state::{Phase, Stop};
use regimen_core::{BoxError, Error};

use super::background::Background;
use super::snapshot::{goes_on_alike, measured, take};
use super::{restore, sum_up};
use crate::checkpoint::format::finite::{Finite, infinite};
use crate::checkpoint::{Checkpointer, Checkpoints, Disk, Snapshot, Store};

impl<U: AppState + ?Sized> Saver<U> for Checkpointer {
    fn events(&self) -> Events {
        use Event::*;
        Events::of(&[
            TrainStart,
            TrainStepEnd,
            TrainEpochEnd,
            TrainEnd,
            EvalStepEnd,
            EvalEpochEnd,
            EvalEnd,
            PredictEnd,
        ])
    }

    fn begin(&mut self, phase: Phase, moment: &mut Moment<'_, '_, U>) -> Result<(), BoxError> {
        // Of several ranks one writes, also the files of the callbacks.
        if moment.state().rank().index != 0 {
            return Ok(());
        }
        self.check()?;
        match phase {
            Phase::Train => self.open().map(drop),
            Phase::Eval | Phase::Predict => self.lock_if_writable(),
        }
    }

    fn on_event(&mut self, event: Event, moment: &mut Moment<'_, '_, U>) -> Result<(), BoxError> {
        // All ranks hold the same state, and one of them writes it.
        if moment.state().rank().index != 0 {
            return Ok(());
        }
        match event {
            Event::TrainStart => self.start(moment),
            Event::TrainEnd => self.end(moment),
            _ if self.training => self.during(event, moment),
            // A pass that was called for by itself leaves nothing to go on from, unless it has a name.
            Event::EvalEnd | Event::PredictEnd if moment.state().is_resumable_pass() && !self.holds_best => {
                self.save_now(moment)
            }
            _ => Ok(()),
        }
    }

    fn on_error(&mut self, error: &Error, moment: &mut Moment<'_, '_, U>) {
        self.training = false;
        if let Some(background) = &mut self.background {
            // It is counted; the run has ended with an error already. What was not saved is no reason to
            // leave out the next save.
            if background.wait().is_some_and(|result| result.is_err()) {
                self.recent = None;
            }
        }
        // What failed to save or restore would only fail again.
        let own = *error.kind() == ErrorKind::State;
        if own || moment.state().rank().index != 0 {
            return;
        }
        let saved = if moment.state().is_resumable_pass() {
            if self.holds_best {
                return;
            }
            // The pass has changed nothing but its place, from which it can go on.
            self.save_now(moment)
        } else if self.post_mortem {
            self.save_post_mortem(moment)
        } else {
            Ok(())
        };
        if let Err(cause) = saved {
            self.saves.fail(cause.to_string());
        }
    }

    fn sum_up(&mut self, report: &mut Report, moment: &mut Moment<'_, '_, U>) {
        if moment.state().rank().index == 0 {
            sum_up::sum_up(self, report);
        }
    }

    fn restore(
        &mut self,
        which: &Which,
        moment: &mut Moment<'_, '_, U>,
    ) -> Result<Option<Restored>, BoxError> {
        restore::restore(self, which, moment)
    }
}

impl Checkpointer {
    fn start<U: AppState + ?Sized>(&mut self, moment: &mut Moment<'_, '_, U>) -> Result<(), BoxError> {
        (self.training, self.holds_best) = (true, false);
        // A copy is made only for weights that will be looked at.
        let looks = !self.saves_not_finite && !weight_parts(moment.unit())?.is_empty();
        if looks && self.infinite.is_none() {
            let snapshot = self.snapshot(moment)?;
            self.infinite = Some(Arc::new(infinite(&snapshot)));
            self.spent = Some(Arc::new(snapshot));
        }
        self.when.begin();
        self.report(moment)
    }

    fn during<U: AppState + ?Sized>(
        &mut self,
        event: Event,
        moment: &mut Moment<'_, '_, U>,
    ) -> Result<(), BoxError> {
        self.report(moment)?;
        let measured_best = self.measure(event, moment);
        if self.when.is_due(event, moment.state(), measured_best) {
            self.save(moment)?;
        }
        Ok(())
    }

    /// Says what is wrong with the settings.
    pub(crate) fn check(&self) -> Result<(), BoxError> {
        if let Some(mistake) = self.mistake {
            return Err(mistake.into());
        }
        if self.restores_best && self.best.is_none() {
            return Err(
                "`Checkpointer::restore_best_at_end` needs `keep_min` or `keep_max`, which say by what"
                    .into(),
            );
        }
        Ok(self.when.check()?)
    }

    pub(crate) fn checkpoints(&self) -> Checkpoints {
        Checkpoints::on(self.store_or_disk(), &self.dir)
    }

    pub(crate) fn store_or_disk(&self) -> Arc<dyn Store> {
        self.store.clone().unwrap_or_else(|| Arc::new(Disk))
    }

    /// Tells what came of a save that is over.
    fn report<U: ?Sized>(&mut self, moment: &mut Moment<'_, '_, U>) -> Result<(), BoxError> {
        match self.background.as_mut().and_then(Background::result) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(why)) => self.failed(why, moment),
        }
    }

    fn failed<U: ?Sized>(&mut self, why: String, moment: &mut Moment<'_, '_, U>) -> Result<(), BoxError> {
        self.recent = None;
        let text = format!("a checkpoint was not saved: {why}");
        if self.stops_on_failure {
            return Err(text.into());
        }
        moment.state_mut().notify(text);
        Ok(())
    }

    /// Takes what was measured in an epoch that ended at `event`. Returns whether the metric of
    /// the best is among it.
    fn measure<U: ?Sized>(&mut self, event: Event, moment: &Moment<'_, '_, U>) -> bool {
        let phase = match event {
            Event::TrainStepEnd => {
                // What is saved from here on is no longer what was measured.
                self.measured.clear();
                self.retire();
                return false;
            }
            Event::TrainEpochEnd => Phase::Train,
            Event::EvalEpochEnd => Phase::Eval,
            _ => return false,
        };
        let state = moment.state();
        let now: Vec<_> = measured(state.metrics(phase), state.progress_of(phase)).collect();
        let best = self.best.as_ref().map(|(key, _)| key.name());
        let measured_best = now.iter().any(|(name, _)| Some(&**name) == best);
        self.measured.extend(now);
        measured_best
    }

    /// The newest snapshot is no longer needed but for its memory.
    fn retire(&mut self) {
        self.spent = self.recent.take().or(self.spent.take());
    }

    /// A copy of everything, in the memory of the last one if nobody needs that any more.
    fn snapshot<U: AppState + ?Sized>(
        &mut self,
        moment: &mut Moment<'_, '_, U>,
    ) -> Result<Snapshot, BoxError> {
        let spent = self.spent.take().and_then(Arc::into_inner).unwrap_or_default();
        with_spares(spent.parts.into_values(), || take(moment, &self.measured, &self.hyper_parameters))
    }

    /// What must be finite to be saved.
    fn finite<U: AppState + ?Sized>(
        &self,
        moment: &mut Moment<'_, '_, U>,
    ) -> Result<Option<Finite>, BoxError> {
        if self.saves_not_finite {
            return Ok(None);
        }
        let infinite = self.infinite.clone().unwrap_or_default();
        Ok(Some(Finite { weights: weight_parts(moment.unit())?, infinite }))
    }

    /// Saves in the midst of a training.
    fn save<U: AppState + ?Sized>(&mut self, moment: &mut Moment<'_, '_, U>) -> Result<(), BoxError> {
        let (in_background, skips) = (self.in_background, self.skips);
        let background = self.open()?;
        if background.is_busy() && skips {
            self.saves.skip();
            return Ok(());
        }
        if let Some(Err(why)) = background.wait() {
            self.failed(why, moment)?;
        }
        self.retire();
        let snapshot = Arc::new(self.snapshot(moment)?);
        let finite = self.finite(moment)?;
        self.recent = Some(Arc::clone(&snapshot));
        let background = self.open()?;
        if in_background {
            background.start(snapshot, finite)
        } else {
            background.write(&snapshot, finite.as_ref())
        }
        self.report(moment)
    }

    /// Saves unless nothing happened since the last save, and waits until that is durable.
    fn save_now<U: AppState + ?Sized>(&mut self, moment: &mut Moment<'_, '_, U>) -> Result<(), BoxError> {
        self.check()?;
        if let Some(Err(why)) = self.open()?.wait() {
            self.failed(why, moment)?;
        }
        let snapshot = self.snapshot(moment)?;
        if self.recent.as_ref().is_some_and(|recent| goes_on_alike(recent, &snapshot)) {
            return Ok(());
        }
        let finite = self.finite(moment)?;
        let background = self.open()?;
        background.write(&snapshot, finite.as_ref());
        background.wait().unwrap_or(Ok(()))?;
        self.recent = Some(Arc::new(snapshot));
        Ok(())
    }

    fn end<U: AppState + ?Sized>(&mut self, moment: &mut Moment<'_, '_, U>) -> Result<(), BoxError> {
        self.training = false;
        self.save_now(moment)?;
        self.spent = None;
        let paused = |stop: &Stop| !stop.is_final();
        if self.restores_best && !moment.state().stopping().is_some_and(paused) {
            restore::put_best_back(self, moment)?;
        }
        Ok(())
    }

    fn save_post_mortem<U: AppState + ?Sized>(
        &mut self,
        moment: &mut Moment<'_, '_, U>,
    ) -> Result<(), BoxError> {
        self.check()?;
        let snapshot = self.snapshot(moment)?;
        let background = self.open()?;
        background.write(&Snapshot { post_mortem: true, ..snapshot }, None);
        // A failure is counted where it is found.
        let _ = background.wait();
        Ok(())
    }
}
