//! Transitions of a state, for the loops.

use std::sync::Arc;

use super::{EntryPoint, Expected, HyperParameters, Phase, PhaseState, Progress, State, Stop};
use crate::BoxError;
use crate::callback::Every;
use crate::data::{At, Rank};
use crate::peers::Peers;
use crate::run::look_ahead;
use crate::text::Count;

/// The position in a cycle of `fit`: a training epoch with its evaluations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cycle {
    #[default]
    Closed,
    /// It has begun; its training epoch has not ended.
    Open,
    /// Its training epoch has ended; an evaluation may be due.
    Trained,
}

impl State {
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// A call begins.
    pub(crate) fn begin(&mut self, entry: EntryPoint) {
        (self.entry, self.phase) = (entry, entry.phase());
        self.mistake = None;
    }

    /// A pass by hand starts from the beginning, or continues the one of this name.
    pub(crate) fn begin_by_hand(&mut self, name: Option<&str>) {
        match self.entry {
            EntryPoint::Evaluate => self.evaluate.begin(name),
            EntryPoint::Predict => self.predict.begin(name),
            EntryPoint::Train | EntryPoint::Fit => {}
        }
    }

    /// Whether the pass by hand under way was finished before this call.
    pub(crate) fn is_finished_by_hand(&mut self) -> bool {
        let by_hand = matches!(self.entry, EntryPoint::Evaluate | EntryPoint::Predict);
        let (phase, now) = (self.phase, (self.train.progress.steps, self.other_weights));
        let active = self.active_phase_mut();
        if !by_hand || active.progress.epochs == 0 || active.epoch_open {
            return false;
        }
        let is_current = active.begun == Some(now);
        if !is_current {
            *active = PhaseState::default();
            self.notify(format!(
                "the {phase} pass starts over: the weights have changed since it was finished"
            ));
        }
        is_current
    }

    /// Sets the number of batches that the data announces; a change is a notice.
    pub(crate) fn set_batches(&mut self, batches: Option<u64>) {
        let (phase, before) = (self.phase, std::mem::replace(&mut self.active_phase_mut().batches, batches));
        if let (Some(now), Some(before)) = (batches, before)
            && now != before
        {
            self.notify(format!(
                "an epoch of the {phase} data has {} now, and had {before} before",
                Count(now, "batch")
            ));
        }
    }

    /// A step begins. Returns the argument of [`take_back_step`](State::take_back_step).
    pub(crate) fn begin_step(&mut self) -> Progress {
        let (notices, media) = (self.notices.len(), self.media.len());
        let active = self.active_phase_mut();
        active.metrics.begin_step();
        (active.is_committed, active.before_step) = (false, (notices, media, active.last_in_epoch));
        active.progress
    }

    /// A step or an epoch has been sent to all: cadences that were due at it are due no longer, and media
    /// are written.
    pub(crate) fn end_due(&mut self) {
        self.forget_media();
        let active = self.active_phase_mut();
        active.due_from = active.progress;
    }

    /// Media were sent to all.
    pub(crate) fn forget_media(&mut self) {
        self.media.clear();
    }

    /// Whether the step at hand has happened, though it failed.
    pub(crate) fn step_is_committed(&mut self) -> bool {
        self.active_phase_mut().is_committed
    }

    /// Sets the steps per evaluation of a call of `fit`, at most.
    pub(crate) fn expect_evaluations(&mut self, steps: Option<u64>) {
        self.expected[Phase::Eval as usize] = Expected { steps_in_epoch: steps, ..Expected::default() };
    }

    /// The step at hand has not happened after all.
    pub(crate) fn revoke_commit(&mut self) {
        self.active_phase_mut().is_committed = false;
    }

    /// An epoch begins.
    pub(crate) fn open_epoch(&mut self) {
        self.mark_epoch();
        let begun = (self.train.progress.steps, self.other_weights);
        let active = self.active_phase_mut();
        (active.epoch_open, active.begun) = (true, Some(begun));
    }

    /// Drops a pass that was begun with other weights: it would be a mix of two models.
    pub(crate) fn drop_outdated_epoch(&mut self) {
        let (phase, now) = (self.phase, (self.train.progress.steps, self.other_weights));
        let by_hand = phase == self.entry.phase();
        let active = self.active_phase_mut();
        let outdated = active.epoch_open && phase != Phase::Train;
        if let Some(begun) = active.begun.filter(|&begun| outdated && begun != now) {
            if by_hand {
                *active = PhaseState::default();
            } else {
                active.drop_epoch();
            }
            let steps = Count(begun.0, "step");
            self.notify(format!(
                "the {phase} pass begun after {steps} of training starts over: the weights have \
                 changed"
            ));
        }
    }

    /// The step that began has not happened: its logs, updates and final stop are taken back.
    pub(crate) fn take_back_step(&mut self, before: Progress) {
        let active = self.active_phase_mut();
        active.progress = before;
        active.metrics.take_back_step();
        let (notices, media, last_in_epoch) = active.before_step;
        // Ranks that have fetched the batch, and those that have not, are at the same place.
        active.last_in_epoch = last_in_epoch;
        self.mistake = None;
        self.notices.truncate(notices);
        self.media.truncate(media);
        // There was none before the step, or it would not have been made.
        self.stop.take_if(|stop| stop.is_final());
    }

    /// Returns the error of an invalid log, once.
    pub(crate) fn check_logged(&mut self) -> Result<(), BoxError> {
        self.mistake.take().map_or(Ok(()), |mistake| Err(mistake.into()))
    }

    pub(crate) fn set_seed(&mut self, seed: u64) {
        (self.seed, self.seed_is_chosen) = (seed, true);
    }

    pub(crate) fn set_hyper_parameters(&mut self, settings: HyperParameters) {
        (self.hyper_parameters, self.hyper_parameters_are_given) = (settings, true);
    }

    pub(crate) fn set_rank(&mut self, rank: Rank) {
        if self.peers.is_none() {
            self.rank = rank;
        }
    }

    /// A lone rank has no peers, so that it costs nothing.
    pub(crate) fn set_peers(&mut self, peers: Arc<dyn Peers>) {
        let rank = peers.rank();
        if rank.count != 1 {
            let is_elastic = peers.is_elastic();
            (self.rank, self.peers) = (rank, Some(peers));
            self.begin_way_back(is_elastic);
        } else if self.peers.take().is_some() {
            self.rank = Rank::default();
        }
    }

    /// Takes the rank anew from the peers, which may have lost some since the last call.
    pub(crate) fn update_rank(&mut self) {
        if let Some(peers) = &self.peers {
            self.rank = peers.rank();
        }
    }

    pub(crate) fn watch(&mut self, every: Every) {
        self.watched.push(every);
    }

    /// Whether the run is to stop, requests from other threads included.
    pub(crate) fn must_stop(&mut self) -> bool {
        if let Some(reason) = self.handle.take_request() {
            self.pause(reason);
        }
        self.stop.is_some()
    }

    /// Replaces the stop by `stop`, and returns the old one.
    pub(crate) fn replace_stop(&mut self, stop: Option<Stop>) -> Option<Stop> {
        std::mem::replace(&mut self.stop, stop)
    }

    /// Clears a pause; with `even_final`, a final stop too.
    pub(crate) fn clear_stop(&mut self, even_final: bool) {
        self.stop.take_if(|stop| even_final || !stop.is_final());
    }

    /// The place in the data of the active phase at which its epoch goes on: that after its last completed step.
    pub fn at(&self) -> At {
        let progress = self.progress();
        At {
            epoch: progress.epochs,
            skip: look_ahead::consumed(progress.steps_in_epoch, &self.passed_over()),
            position: self.active_position(),
            seed: self.seed(),
            rank: self.rank(),
        }
    }

    /// The batch of the step at hand in the data of its epoch, from 0. It is the number of completed steps of the epoch,
    /// and of the batches before it that a roll-back [passes over](crate::Run::roll_back).
    pub fn batch_at_hand(&self) -> u64 {
        look_ahead::batch_of(self.progress().steps_in_epoch, &self.passed_over())
    }

    /// The batches of its epoch that the active phase passes over, in order.
    pub(crate) fn passed_over(&self) -> Vec<u64> {
        match self.phase {
            Phase::Train => self.passed_over_in(self.train.progress.epochs),
            Phase::Eval | Phase::Predict => Vec::new(),
        }
    }

    fn passed_over_in(&self, epoch: u64) -> Vec<u64> {
        self.passed_over.range((epoch, 0)..=(epoch, u64::MAX)).map(|&(_, batch)| batch).collect()
    }

    /// The epoch of training step `step`, and its batch in the data of that epoch. Returns `None` if it is in
    /// neither of the two newest epochs.
    pub(crate) fn batch_of_step(&self, step: u64) -> Option<(u64, u64)> {
        let Progress { steps, epochs, steps_in_epoch, steps_in_last_epoch, .. } = self.train.progress;
        let back = steps.checked_sub(step)?;
        let (epoch, done) = match steps_in_epoch.checked_sub(back) {
            Some(done) => (epochs, done),
            None => (epochs.checked_sub(1)?, (steps_in_last_epoch + steps_in_epoch).checked_sub(back)?),
        };
        Some((epoch, look_ahead::batch_of(done, &self.passed_over_in(epoch))))
    }

    /// Takes the first `told` notices, which were sent.
    pub(crate) fn take_notices(&mut self, told: usize) -> impl Iterator<Item = String> {
        self.notices.drain(..told)
    }
}
