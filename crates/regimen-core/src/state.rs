//! The state of a run, as units and callbacks see it.

use std::borrow::Cow;

use crate::{
    Array, BoxError, Every, Key, Metric, Metrics, Phase, Position, Progress, Rank, StateDict, Stateful, Stop,
    StopHandle, keyed,
};

/// Where a run stands: what it is doing, how far it has come, what was measured, whether it is
/// to stop.
///
/// Units and callbacks read it, [log](State::log) into it and may [stop](State::stop) the run.
/// Counters move in the loop only, but for [updates](State::count_update).
#[derive(Debug)]
pub struct State {
    phase: Phase,
    phases: [PhaseState; 3],
    seed: u64,
    rank: Rank,
    stop: Option<Stop>,
    handle: StopHandle,
    watched: Vec<Every>,
    notices: Vec<String>,
    /// Steps and limits of the call under way, for those who show how much is left.
    pub(crate) expected: [Expected; 3],
    pub(crate) cycle: Cycle,
    /// An evaluation is due, or half done.
    pub(crate) eval_due: bool,
}

#[derive(Debug, Default)]
pub(crate) struct PhaseState {
    pub(crate) progress: Progress,
    pub(crate) metrics: Metrics,
    /// The epoch has begun, and has neither ended by its data nor by its cap.
    pub(crate) epoch_open: bool,
    pub(crate) last_in_epoch: bool,
    pub(crate) position: Option<Position>,
}

/// Where a cycle of `fit` stands: a training epoch with the evaluations run for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cycle {
    #[default]
    Closed,
    /// It has begun; its training epoch has not ended.
    Open,
    /// Its training epoch has ended; an evaluation may be due.
    Trained,
}

/// How much a phase is expected to do in the call under way, where that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Steps of a whole epoch.
    pub steps_in_epoch: Option<u64>,
    /// Epochs in all, counted from the very first.
    pub epochs: Option<u64>,
    /// Steps in all, counted from the very first.
    pub steps: Option<u64>,
}

impl State {
    pub(crate) fn new() -> Self {
        State {
            phase: Phase::Train,
            phases: Default::default(),
            seed: 0,
            rank: Rank::default(),
            stop: None,
            handle: StopHandle::default(),
            watched: Vec::new(),
            notices: Vec::new(),
            expected: Default::default(),
            cycle: Cycle::Closed,
            eval_due: false,
        }
    }

    /// The phase that is active. In `fit` it is [`Phase::Eval`] during an evaluation.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// How much of `phase` is done.
    pub fn progress(&self, phase: Phase) -> Progress {
        self.phases[phase as usize].progress
    }

    /// How much of the training is done.
    pub fn train(&self) -> Progress {
        self.progress(Phase::Train)
    }

    /// How much of the evaluation is done, over all evaluations.
    pub fn eval(&self) -> Progress {
        self.progress(Phase::Eval)
    }

    /// How much of the prediction is done.
    pub fn predict(&self) -> Progress {
        self.progress(Phase::Predict)
    }

    /// How much of the active phase is done.
    pub fn active(&self) -> Progress {
        self.progress(self.phase)
    }

    /// How much `phase` is expected to do in this call; for progress bars.
    pub fn expected(&self, phase: Phase) -> Expected {
        self.expected[phase as usize]
    }

    /// Whether the batch at hand is the last of its epoch in the active phase, by the data or by
    /// the cap. A limit, a stop or a signal does not make a batch the last.
    pub fn last_in_epoch(&self) -> bool {
        self.phases[self.phase as usize].last_in_epoch
    }

    /// The seed of the run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Which process this is among those that train together.
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// The seed of the step at hand: a pure function of the run's seed, the active phase, its
    /// completed steps and the rank. An engine seeded with it before each step draws the same
    /// numbers after a resume.
    pub fn step_seed(&self) -> u64 {
        keyed(self.seed, self.phase.name(), self.rank.index, self.active().steps)
    }

    /// Counts one optimizer step of the active phase. For units: with gradient accumulation
    /// several steps make one update.
    pub fn count_update(&mut self) {
        self.phases[self.phase as usize].progress.updates += 1;
    }

    /// Logs a value of the active phase under `key`, with the weight it has in a mean: its number
    /// of samples or tokens. A weight of zero counts for nothing.
    pub fn log(&mut self, key: Key, value: f64, weight: f64) {
        let PhaseState { metrics, progress, .. } = &mut self.phases[self.phase as usize];
        metrics.log(key, value, weight, progress.steps);
    }

    /// The metrics of `phase`.
    pub fn metrics(&self, phase: Phase) -> &Metrics {
        &self.phases[phase as usize].metrics
    }

    /// The metrics of `phase`, to [merge](Metrics::merge) those of other ranks into.
    pub fn metrics_mut(&mut self, phase: Phase) -> &mut Metrics {
        &mut self.phases[phase as usize].metrics
    }

    /// The metric of `key`: of the active phase if it was logged there, else of the first phase
    /// that has it.
    pub fn metric(&self, key: &Key) -> Option<&Metric> {
        let phases = std::iter::once(self.phase).chain(Phase::ALL);
        phases.into_iter().find_map(|phase| self.metrics(phase).get(key))
    }

    /// Whether somebody will look at the metrics of the step at hand: true where a callback said
    /// so in [`metrics_every`](crate::Callback::metrics_every). A value that costs a wait for the
    /// device is worth logging only then.
    pub fn wants_metrics(&self) -> bool {
        let Progress { steps, .. } = self.active();
        let wanted = |every: &Every| {
            every.updates.is_some() || every.steps.is_some_and(|n| (steps + 1).checked_rem(n) == Some(0))
        };
        self.last_in_epoch() || self.watched.iter().any(wanted)
    }

    /// Whether an evaluation of `fit` is due, or half done.
    pub fn eval_is_due(&self) -> bool {
        self.eval_due
    }

    /// Asks the run to pause. It is seen at the next boundary of a step: the step under way is
    /// finished, an epoch under way stays open, and the run can go on as if it had not stopped.
    /// The first reason wins.
    pub fn stop(&mut self, reason: impl Into<Cow<'static, str>>) {
        self.stop.get_or_insert(Stop { reason: reason.into(), is_final: false });
    }

    /// Asks the run to end for good, because a rule decided it: early stopping. As
    /// [`stop`](State::stop), but saved: see [`Stop::is_final`]. It replaces a mere pause.
    pub fn finish(&mut self, reason: impl Into<Cow<'static, str>>) {
        if !self.stop.as_ref().is_some_and(|stop| stop.is_final) {
            self.stop = Some(Stop { reason: reason.into(), is_final: true });
        }
    }

    /// Whether the run is to stop, and why.
    pub fn stopping(&self) -> Option<&Stop> {
        self.stop.as_ref()
    }

    /// A handle that pauses this run from another thread.
    pub fn stop_handle(&self) -> StopHandle {
        self.handle.clone()
    }

    /// Tells the callbacks something that is no error, at the next boundary of a step.
    pub fn notify(&mut self, notice: impl Into<String>) {
        self.notices.push(notice.into());
    }

    /// What is being told, during [`Event::Notice`](crate::Event::Notice).
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    pub(crate) fn here(&mut self) -> &mut PhaseState {
        &mut self.phases[self.phase as usize]
    }

    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    pub(crate) fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    pub(crate) fn set_rank(&mut self, rank: Rank) {
        self.rank = rank;
    }

    pub(crate) fn watch(&mut self, every: Every) {
        self.watched.push(every);
    }

    /// Whether the run is to stop, requests from other threads included.
    pub(crate) fn must_stop(&mut self) -> bool {
        if let Some(reason) = self.handle.take() {
            self.stop(reason);
        }
        self.stop.is_some()
    }

    /// Puts `stop` in place of the one there is, which it returns.
    pub(crate) fn replace_stop(&mut self, stop: Option<Stop>) -> Option<Stop> {
        std::mem::replace(&mut self.stop, stop)
    }

    /// Forgets a pause; with `even_final`, a final stop too.
    pub(crate) fn clear_stop(&mut self, even_final: bool) {
        self.stop.take_if(|stop| even_final || !stop.is_final);
    }

    pub(crate) fn forget_notices(&mut self, told: usize) {
        self.notices.drain(..told);
    }
}

/// Progress and metrics of every phase, the seed, where a cycle stands, and a final stop.
/// A pause is not saved: a restarted run goes on.
impl Stateful for State {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        for (phase, state) in Phase::ALL.into_iter().zip(&self.phases) {
            let name = phase.name();
            dict.insert_all(&format!("{name}.progress"), state.progress.state_dict()?)?;
            dict.insert_all(&format!("{name}.metrics"), state.metrics.state_dict()?)?;
            dict.insert(format!("{name}.epoch_open"), u8::from(state.epoch_open))?;
            if let Some(position) = &state.position {
                dict.insert(format!("{name}.position"), Array::from_slice(position.as_bytes()))?;
            }
        }
        dict.insert("seed", self.seed)?;
        dict.insert("cycle", self.cycle as u8)?;
        dict.insert("eval_due", u8::from(self.eval_due))?;
        if let Some(stop) = self.stop.as_ref().filter(|stop| stop.is_final) {
            dict.insert("final_stop", Array::from_text(&stop.reason))?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let mut phases: [PhaseState; 3] = Default::default();
        for (phase, state) in Phase::ALL.into_iter().zip(&mut phases) {
            let name = phase.name();
            state.progress.load_state_dict(&dict.under(&format!("{name}.progress")))?;
            state.metrics.load_state_dict(&dict.under(&format!("{name}.metrics")))?;
            state.epoch_open = dict.get::<u8>(&format!("{name}.epoch_open"))? != 0;
            let position = format!("{name}.position");
            if dict.contains(&position) {
                state.position = Some(Position::new(&dict.array(&position)?.to_vec::<u8>()?));
            }
        }
        let seed = dict.get("seed")?;
        let cycle = match dict.get::<u8>("cycle")? {
            0 => Cycle::Closed,
            1 => Cycle::Open,
            2 => Cycle::Trained,
            other => return Err(format!("`cycle`: {other} is not known here").into()),
        };
        let eval_due = dict.get::<u8>("eval_due")? != 0;
        let stop = match dict.contains("final_stop") {
            true => Some(Stop { reason: dict.array("final_stop")?.to_text()?.into(), is_final: true }),
            false => None,
        };
        (self.phases, self.seed, self.cycle, self.eval_due, self.stop) =
            (phases, seed, cycle, eval_due, stop);
        Ok(())
    }
}
