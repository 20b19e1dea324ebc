//! The way back of a run that has lost a rank.

use super::{Cycle, EntryPoint, Phase, PhaseState, State};

/// The copies to which a run of elastic ranks goes back. Nothing is copied without such [peers](State::peers).
#[derive(Debug, Default)]
pub(crate) struct WayBack {
    /// Whether the ranks that are left can go on.
    pub(super) is_elastic: bool,
    /// Whether this rank has a share of a state, the rest of which is lost with another rank.
    has_share: bool,
    window: Opened,
    /// The evaluation of `fit` before its first step.
    evaluation: Option<Box<PhaseState>>,
    /// Whether this was the first rank when the run began or was restored.
    was_first: bool,
    /// How often the run was rewound.
    rewinds: u64,
    /// Training steps whose end all callbacks were sent on a rank, before the run was rewound.
    told: u64,
    /// Training epochs when the last cycle ended.
    cycle_ended_after: u64,
}

/// The accumulation window under way.
#[derive(Debug, Default)]
enum Opened {
    #[default]
    No,
    /// The training, and whether an evaluation was due, before its first step.
    At(Box<(PhaseState, bool)>),
    /// Something was done in it that cannot be done again.
    ForGood,
}

/// The state before an epoch ends.
pub(crate) struct BeforeEpochEnd {
    phase: PhaseState,
    cycle: Cycle,
    eval_due: bool,
}

/// Samples of the training epoch under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EpochSamples {
    /// Those of all [peers](State::peers), also of ranks that were lost since.
    pub of_all: u64,
    /// Those of this rank.
    pub of_this_rank: u64,
}

impl State {
    /// Marks the first step of an accumulation window, before it is complete (`true`), or the end of the window by an
    /// update or a skip (`false`), behind the [commit](crate::peers::Peers::commit). For units that accumulate: after
    /// the loss of a rank the run goes [back](crate::Run::rewind) to that step. Without elastic peers it does nothing.
    pub fn mark_window(&mut self, begins: bool) {
        if self.back.is_elastic {
            let copy = || {
                // As before the step, of which the batch is fetched.
                let last_in_epoch = self.train.before_step.2;
                let train = PhaseState { last_in_epoch, ..self.train.clone() };
                Opened::At(Box::new((train, self.eval_due)))
            };
            self.back.window = if begins { copy() } else { Opened::No };
        }
    }

    /// The samples of the training epoch under way. Zero between two epochs. Returns `None` without
    /// [peers](State::peers), and if a checkpoint was restored since the epoch began.
    pub fn epoch_samples(&self) -> Option<EpochSamples> {
        match self.train.epoch_open {
            true => self.train.shares.filter(|_| self.peers.is_some()),
            false => self.peers.as_ref().map(|_| EpochSamples::default()),
        }
    }

    /// Whether the ranks that are left can go on if one is lost.
    pub(crate) fn is_elastic(&self) -> bool {
        self.back.is_elastic
    }

    pub(super) fn begin_way_back(&mut self, is_elastic: bool) {
        (self.back.is_elastic, self.back.was_first) = (is_elastic, self.rank().is_first());
    }

    /// Whether this became the first rank by a loss, and has restored no checkpoint since.
    pub(crate) fn has_become_first(&self) -> bool {
        self.rank().is_first() && !self.back.was_first
    }

    /// Whether this rank has a share of a state, such as that of a sharded optimizer.
    pub(crate) fn set_has_share(&mut self, has_share: bool) {
        self.back.has_share = has_share;
    }

    /// The training has done something in the window under way, or since the end of the last, that cannot be done again.
    pub(crate) fn bar_rewind(&mut self) {
        if self.back.is_elastic {
            self.back.window = Opened::ForGood;
        }
    }

    /// The same, if a window is under way.
    pub(crate) fn bar_rewind_of_window(&mut self) {
        if matches!(self.back.window, Opened::At(_)) {
            self.back.window = Opened::ForGood;
        }
    }

    /// An epoch of the active phase begins.
    pub(super) fn mark_epoch(&mut self) {
        match self.phase {
            Phase::Train => self.train.shares = Some(EpochSamples::default()),
            Phase::Eval if self.back.is_elastic && self.entry == EntryPoint::Fit => {
                self.back.evaluation = Some(Box::new(self.eval.clone()));
            }
            Phase::Eval | Phase::Predict => {}
        }
    }

    /// The ranks have agreed on the end of an epoch of the active phase.
    pub(crate) fn unmark_epoch(&mut self) {
        match self.phase {
            Phase::Train => self.mark_window(false),
            // The window would be made again, but not the evaluation.
            Phase::Eval if self.entry == EntryPoint::Fit => {
                self.back.evaluation = None;
                self.bar_rewind_of_window();
            }
            Phase::Eval | Phase::Predict => {}
        }
    }

    /// A copy of what changes at the end of an epoch of the active phase. `None` without elastic peers.
    pub(crate) fn before_epoch_end(&mut self) -> Option<Box<BeforeEpochEnd>> {
        self.back.is_elastic.then(|| {
            let (cycle, eval_due) = (self.cycle, self.eval_due);
            Box::new(BeforeEpochEnd { phase: self.active_phase_mut().clone(), cycle, eval_due })
        })
    }

    /// The ranks have not agreed on the end of the epoch: it comes again in the next call.
    pub(crate) fn take_back_epoch_end(&mut self, before: Box<BeforeEpochEnd>) {
        let BeforeEpochEnd { phase, cycle, eval_due } = *before;
        (*self.active_phase_mut(), self.cycle, self.eval_due) = (phase, cycle, eval_due);
    }

    /// A checkpoint was loaded: no copy is of it. It may be of a window under way, whose first step is not known.
    pub(super) fn forget_way_back(&mut self) {
        let WayBack { is_elastic, has_share, rewinds, .. } = self.back;
        let was_first = self.rank().is_first();
        self.back = WayBack { is_elastic, has_share, was_first, rewinds, ..WayBack::default() };
        self.bar_rewind();
    }

    /// Counts the samples of a step that was made since there were `before`, on all ranks and on this one.
    pub(crate) fn count_shares(&mut self, before: u64) {
        let PhaseState { progress, samples_at_hand, shares, .. } = self.active_phase_mut();
        let made = progress.samples - before;
        if let Some(shares) = shares.as_mut().filter(|_| made > 0) {
            shares.of_all += made;
            shares.of_this_rank += *samples_at_hand;
        }
    }

    /// Ends the cycle. Returns `false` if it had ended before the run was rewound.
    pub(crate) fn end_cycle(&mut self) -> bool {
        let is_new = !self.has_ended_cycle();
        (self.cycle, self.back.cycle_ended_after) = (Cycle::Closed, self.train.progress.epochs);
        is_new
    }

    /// Whether a cycle has ended after the latest epoch.
    fn has_ended_cycle(&self) -> bool {
        let epochs = self.train.progress.epochs;
        epochs > 0 && epochs == self.back.cycle_ended_after
    }

    /// The steps whose end the callbacks of some rank were sent, for the ranks to agree on the largest.
    pub(crate) fn told(&mut self) -> &mut u64 {
        &mut self.back.told
    }

    /// How often the run was rewound.
    pub(crate) fn rewinds(&self) -> u64 {
        self.back.rewinds
    }

    /// Whether the step that comes was made before the run was rewound, and its end was sent to the callbacks.
    pub(crate) fn is_made_again(&self) -> bool {
        self.phase == Phase::Train && self.train.progress.steps < self.back.told
    }

    /// Goes back to the first step of the window under way, and to the begin of the evaluation under way.
    /// Returns the training steps that are made again.
    pub(crate) fn rewind(&mut self) -> u64 {
        let before = self.train.progress.steps;
        if let Opened::At(copy) = &mut self.back.window {
            self.back.told = self.back.told.max(self.train.due_from.steps);
            (self.train, self.eval_due) = std::mem::take(&mut **copy);
            self.back.window = Opened::No;
        }
        match self.back.evaluation.take() {
            Some(evaluation) => self.eval = *evaluation,
            // It was begun before a restart.
            None if self.eval.epoch_open => self.back.window = Opened::ForGood,
            None => {}
        }
        // Some ranks may have come further between two epochs: all go back to the end of the cycle before.
        if self.train.progress.steps_in_epoch == 0 {
            self.train.epoch_open = false;
            if self.cycle != Cycle::Trained {
                self.cycle = if self.has_ended_cycle() { Cycle::Trained } else { Cycle::Closed };
            }
        }
        self.back.rewinds += 1;
        before - self.train.progress.steps
    }

    /// The place of the run, as text that is the same on ranks that can go on together. Returns `None` if this rank
    /// cannot go on.
    pub(crate) fn standing(&self) -> Option<String> {
        let is_lost = !self.back.is_elastic
            || self.back.has_share
            || matches!(self.back.window, Opened::ForGood)
            || self.is_resumable_pass() && self.phase_state(self.entry.phase()).epoch_open;
        let place = |PhaseState { progress, epoch_open, last_in_epoch, .. }: &PhaseState| {
            format!("{progress:?} {epoch_open} {last_in_epoch}")
        };
        let State { train, eval, cycle, eval_due, other_weights, .. } = self;
        let text = || format!("{} {} {cycle:?} {eval_due} {other_weights}", place(train), place(eval));
        (!is_lost).then(text)
    }
}
