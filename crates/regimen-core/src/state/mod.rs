//! The state of a run, as units and callbacks see it.

mod advance;
mod agree;
mod entry_point;
mod hyper_parameters;
mod phase;
mod phase_state;
mod rewind;
mod saved;
mod stop;

pub(crate) use advance::Cycle;
pub(crate) use agree::Sharing;
pub use entry_point::EntryPoint;
pub use hyper_parameters::{HyperParameter, HyperParameters};
pub use phase::{Expected, Phase, Progress};
pub use rewind::EpochSamples;
pub use stop::{PauseHandle, Stop};

use std::borrow::{Borrow, Cow};
use std::collections::BTreeSet;
use std::sync::Arc;

use self::phase_state::ByHand;
pub(crate) use self::phase_state::PhaseState;
use self::rewind::WayBack;
use crate::callback::Every;
use crate::data::{Position, Rank};
use crate::error::Place;
use crate::metric::reading::Reading;
use crate::metric::{Key, Media, Metric, Metrics};
use crate::peers::Peers;
use crate::random::keyed;
use crate::run::Probe;

/// The state of a run: its phase, progress, metrics, and a request to stop.
///
/// Units and callbacks read it, [log](State::log) into it and may [pause](State::pause) or
/// [finish](State::finish) the run. Counters move in the loop only, except [updates](State::count_update).
///
/// The evaluation of `fit` has other counters and metrics than a pass by hand, of
/// [`Run::evaluate`](crate::Run::evaluate) or [`Run::predict`](crate::Run::predict). [`Phase::Eval`]
/// means the one of the newest call.
#[derive(Debug)]
pub struct State {
    entry: EntryPoint,
    phase: Phase,
    train: PhaseState,
    /// The evaluation of `fit`.
    eval: PhaseState,
    /// The newest passes by hand.
    evaluate: ByHand,
    predict: ByHand,
    seed: u64,
    /// Whether the seed was set, and is not the default.
    seed_is_chosen: bool,
    /// That of the peers as a call begins, if there are any.
    rank: Rank,
    /// `None` if this process trains alone.
    peers: Option<Arc<dyn Peers>>,
    back: WayBack,
    probe: Option<Arc<dyn Probe>>,
    stop: Option<Stop>,
    /// The final stop of a run during a pass by hand, which it does not end.
    pub(crate) aside: Option<Stop>,
    handle: PauseHandle,
    watched: Vec<Every>,
    notices: Vec<String>,
    /// Logged since the last end of a step, an epoch or a call.
    media: Vec<(Cow<'static, str>, Media)>,
    hyper_parameters: HyperParameters,
    /// Whether they were given, and are not those of a checkpoint.
    hyper_parameters_are_given: bool,
    /// The error of an invalid log; the loop returns it.
    mistake: Option<String>,
    /// Steps whose gradients wait for an update.
    pending: u64,
    /// Whether the gradients of this rank are a share, in a hook before an update.
    has_share_of_gradients: bool,
    /// How often the weights were replaced without a training step.
    other_weights: u64,
    /// Steps and limits of the call under way, for progress bars.
    pub(crate) expected: [Expected; 3],
    pub(crate) cycle: Cycle,
    /// An evaluation of `fit` is due, or half done.
    pub(crate) eval_due: bool,
    /// Batches that training passes over: the epoch, and the batch in the data of that epoch.
    pub(crate) passed_over: BTreeSet<(u64, u64)>,
}

impl State {
    pub(crate) fn new() -> Self {
        State {
            entry: EntryPoint::Train,
            phase: Phase::Train,
            train: PhaseState::default(),
            eval: PhaseState::default(),
            evaluate: ByHand::default(),
            predict: ByHand::default(),
            seed: 0,
            seed_is_chosen: false,
            rank: Rank::default(),
            peers: None,
            back: WayBack::default(),
            probe: None,
            stop: None,
            aside: None,
            handle: PauseHandle::default(),
            watched: Vec::new(),
            notices: Vec::new(),
            media: Vec::new(),
            hyper_parameters: HyperParameters::new(),
            hyper_parameters_are_given: false,
            mistake: None,
            pending: 0,
            has_share_of_gradients: false,
            other_weights: 0,
            expected: Default::default(),
            cycle: Cycle::Closed,
            eval_due: false,
            passed_over: BTreeSet::new(),
        }
    }

    /// The entry point of the newest call. Rules about training judge only the evaluations of
    /// [`EntryPoint::Fit`].
    pub fn entry_point(&self) -> EntryPoint {
        self.entry
    }

    /// The phase that is active. In `fit` it is [`Phase::Eval`] during an evaluation.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The progress of `phase`.
    pub fn progress_of(&self, phase: Phase) -> Progress {
        self.phase_state(phase).progress
    }

    /// The progress of the training.
    pub fn train_progress(&self) -> Progress {
        self.progress_of(Phase::Train)
    }

    /// The progress of the evaluation: over all evaluations of `fit`, or in the newest by hand.
    pub fn eval_progress(&self) -> Progress {
        self.progress_of(Phase::Eval)
    }

    /// The progress of the newest prediction.
    pub fn predict_progress(&self) -> Progress {
        self.progress_of(Phase::Predict)
    }

    /// The progress of the active phase.
    pub fn progress(&self) -> Progress {
        self.progress_of(self.phase)
    }

    /// The place in the active phase.
    pub(crate) fn place(&self) -> Place {
        let Progress { epochs, steps, .. } = self.progress();
        Place { phase: Some(self.phase), epoch: epochs, step: steps }
    }

    /// The steps and epochs expected of `phase` in this call; for progress bars.
    pub fn expected(&self, phase: Phase) -> Expected {
        self.expected[phase as usize]
    }

    /// Whether the batch at hand is the last of its epoch in the active phase, by the data or by
    /// the cap. A limit, a stop or a signal does not make a batch the last.
    pub fn last_in_epoch(&self) -> bool {
        self.phase_state(self.phase).last_in_epoch
    }

    /// The seed of the run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The rank of this process among those that train together.
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// The processes that train together with this one. Returns `None` if it trains alone.
    pub fn peers(&self) -> Option<&Arc<dyn Peers>> {
        self.peers.as_ref()
    }

    /// The seed of the step at hand: a pure function of the run's seed, the active phase, its
    /// completed steps and the rank. An engine seeded with it before each step draws the same
    /// numbers after a resume.
    pub fn step_seed(&self) -> u64 {
        keyed(self.seed, self.phase.name(), self.rank().index, self.progress().steps)
    }

    /// Counts one optimizer step of the active phase. For units: with gradient accumulation
    /// several steps make one update.
    pub fn count_update(&mut self) {
        let active = self.active_phase_mut();
        active.progress.updates += 1;
        active.is_committed = true;
    }

    /// Commits the step at hand: it is counted, and its logs stay, even if the unit fails after this.
    /// For units that change something before they may still fail; counting an update commits too. A
    /// step that fails without it has not happened, and is repeated.
    pub fn commit_step(&mut self) {
        self.active_phase_mut().is_committed = true;
    }

    pub(crate) fn samples_at_hand(&self) -> u64 {
        self.phase_state(self.phase).samples_at_hand
    }

    pub(crate) fn active_position(&self) -> Option<Position> {
        self.phase_state(self.phase).position.clone()
    }

    /// Sets the number of steps with gradients that wait for an update, for
    /// [`Report::pending_steps`](crate::run::Report::pending_steps). For units that accumulate.
    pub fn set_pending_steps(&mut self, steps: u64) {
        self.pending = steps;
    }

    /// Whether this rank holds a [share](crate::AutoUnit::shard_gradients) of the gradients, in a hook
    /// [`before_update`](crate::AutoUnit::before_update). A norm there is that of the share.
    pub fn has_share_of_gradients(&self) -> bool {
        self.has_share_of_gradients
    }

    pub(crate) fn set_has_share_of_gradients(&mut self, has_share: bool) {
        self.has_share_of_gradients = has_share;
    }

    /// Notes that the weights were replaced without a step, for example by those of the best
    /// checkpoint. A pass over data that was begun before does not continue. For savers.
    pub fn set_other_weights(&mut self) {
        self.other_weights += 1;
    }

    pub(crate) fn pending_steps(&self) -> u64 {
        self.pending
    }

    /// Logs a value of the active phase under `key`, with the weight it has in a mean: its number of
    /// samples or tokens. A value of weight zero counts for nothing, even NaN.
    ///
    /// In the hooks at the end of an epoch, the value belongs to that epoch. A weight that is negative
    /// or not finite, and a key that was logged with another reduction, make the step or hook fail.
    pub fn log(&mut self, key: Key, value: f64, weight: f64) {
        self.log_reading(key, value.into(), weight);
    }

    /// Logs a value that is read when somebody looks at the metric.
    pub(crate) fn log_reading(&mut self, key: Key, value: Reading, weight: f64) {
        let PhaseState { metrics, due_from, .. } = self.active_phase_mut();
        // At the end of a step it is counted already.
        let logged = metrics.log(key, value, weight, due_from.steps + 1);
        if let (Err(mistake), None) = (logged, &self.mistake) {
            self.mistake = Some(mistake);
        }
    }

    /// Logs a text, an image, a histogram or a sound of the active phase under `name`.
    ///
    /// A log that takes its kind writes it at the end of the step or epoch, at any cadence. It is not
    /// saved, and it is gone after that end. If it costs something to make, ask
    /// [`wants_metrics`](State::wants_metrics) first.
    pub fn log_media(&mut self, name: impl Into<Cow<'static, str>>, media: impl Into<Media>) {
        self.media.push((name.into(), media.into()));
    }

    /// Texts, images and histograms that were logged since the last end of a step, an epoch or a call, in
    /// order; for logs.
    pub fn media(&self) -> &[(Cow<'static, str>, Media)] {
        &self.media
    }

    /// The hyper-parameters of the run: those given to
    /// [`Run::hyper_parameters`](crate::Run::hyper_parameters), or those of the restored checkpoint.
    pub fn hyper_parameters(&self) -> &HyperParameters {
        &self.hyper_parameters
    }

    /// The metrics of `phase`. Among several ranks the values over an epoch that has ended are those of all: see
    /// [`share_metrics`](State::share_metrics). The values of steps, and those so far, are of this rank.
    pub fn metrics(&self, phase: Phase) -> &Metrics {
        &self.phase_state(phase).metrics
    }

    /// The metrics of `phase`, to [merge](Metrics::merge) those of other ranks into.
    pub fn metrics_mut(&mut self, phase: Phase) -> &mut Metrics {
        &mut self.phase_state_mut(phase).metrics
    }

    /// The value of `key` over the newest ended epoch in which it was logged, of the phase that
    /// [`metric`](State::metric) reads. Returns `None` if no such epoch has ended.
    pub fn value(&self, key: impl Borrow<Key>) -> Option<f64> {
        self.metric(key)?.epoch_value()
    }

    /// The metric of `key`: of the active phase if it was logged there, else of the first phase that
    /// has it. Returns `None` if it was never logged.
    pub fn metric(&self, key: impl Borrow<Key>) -> Option<&Metric> {
        let key = key.borrow();
        let phases = std::iter::once(self.phase).chain(Phase::ALL);
        phases.into_iter().find_map(|phase| self.metrics(phase).get(key))
    }

    /// Whether the metrics of the step at hand are read: true if a callback asks for them in
    /// [`metrics_every`](crate::Callback::metrics_every). A value that costs a wait for the device is
    /// worth logging only then.
    pub fn wants_metrics(&self) -> bool {
        let Progress { steps, .. } = self.progress();
        let wanted = |every: &Every| {
            every.updates.is_some() || every.steps.is_some_and(|n| (steps + 1).checked_rem(n) == Some(0))
        };
        self.last_in_epoch() || self.watched.iter().any(wanted)
    }

    /// Whether `every` is due, at the end of a step or an epoch of the active phase: whether one of its
    /// counts became or passed a multiple since the step or the epoch before. At every other event it
    /// is false, except for updates that were counted since.
    ///
    /// A pure function of saved counts, so a restarted run has the same answers.
    ///
    /// ```
    /// # use regimen_core::callback::{Event, Every};
    /// # use regimen_core::{Run, State};
    /// # fn example<U>(run: Run<'_, U>) -> Run<'_, U> {
    /// run.on(Event::TrainStepEnd, |state: &mut State, _: &mut U| {
    ///     if state.is_due(Every::updates(100)) { state.notify("100 updates more") }
    /// })
    /// # }
    /// ```
    pub fn is_due(&self, every: Every) -> bool {
        let PhaseState { due_from, progress, .. } = *self.phase_state(self.phase);
        every.is_due(due_from, progress)
    }

    /// Whether the end of the epoch comes next and `every` is due there. For one action at a place that
    /// two cadences share.
    pub fn is_due_at_epoch_end(&self, every: Every) -> bool {
        let PhaseState { progress, last_in_epoch, .. } = *self.phase_state(self.phase);
        last_in_epoch && every.is_due(progress, Progress { epochs: progress.epochs + 1, ..progress })
    }

    /// Whether an evaluation of `fit` is due or unfinished.
    pub fn eval_is_due(&self) -> bool {
        self.eval_due
    }

    /// Whether the call under way is a pass by hand with a name, which a saver saves too. A later call
    /// can continue it, also after a restart.
    pub fn is_resumable_pass(&self) -> bool {
        match self.entry {
            EntryPoint::Train | EntryPoint::Fit => false,
            EntryPoint::Evaluate => self.evaluate.name.is_some(),
            EntryPoint::Predict => self.predict.name.is_some(),
        }
    }

    /// Asks the run to pause. It is seen at the next boundary of a step: the step under way is
    /// finished, an epoch under way stays open, and the run can continue as if it had not stopped. The
    /// first reason wins.
    pub fn pause(&mut self, reason: impl Into<Cow<'static, str>>) {
        self.stop.get_or_insert_with(|| Stop::Pause(reason.into()));
    }

    /// Asks the run to end for good, because a rule decided it, such as early stopping. It is saved: see
    /// [`Stop::Finish`]. It replaces a pause.
    pub fn finish(&mut self, reason: impl Into<Cow<'static, str>>) {
        if !self.stop.as_ref().is_some_and(Stop::is_final) {
            self.stop = Some(Stop::Finish(reason.into()));
        }
    }

    /// The stop of the run, with its reason. Returns `None` without a request.
    pub fn stopping(&self) -> Option<&Stop> {
        self.stop.as_ref()
    }

    /// A handle that pauses this run from another thread.
    pub fn pause_handle(&self) -> PauseHandle {
        self.handle.clone()
    }

    /// Calls `f` as the part `name` of the run's profile, within the part under way. Without a
    /// [probe](crate::Run::probe) it only calls `f`.
    ///
    /// ```
    /// # use regimen_core::{BoxError, State};
    /// # fn render(_: &[u8]) -> f64 { 0.0 }
    /// # fn example(state: &mut State, image: &[u8]) {
    /// let score = state.time("render", |_| render(image));
    /// # }
    /// ```
    pub fn time<R>(&mut self, name: &'static str, f: impl FnOnce(&mut State) -> R) -> R {
        if let Some(probe) = &self.probe {
            probe.part_began(name);
        }
        let result = f(self);
        if let Some(probe) = &self.probe {
            probe.part_ended();
        }
        result
    }

    pub(crate) fn probe(&self) -> Option<&Arc<dyn Probe>> {
        self.probe.as_ref()
    }

    /// Returns the probe before.
    pub(crate) fn set_probe(&mut self, probe: Arc<dyn Probe>) -> Option<Arc<dyn Probe>> {
        self.probe.replace(probe)
    }

    /// Sends a notice, a message that is no error, to the callbacks at the next boundary of a step.
    pub fn notify(&mut self, notice: impl Into<String>) {
        self.notices.push(notice.into());
    }

    /// The notices being sent, during [`Event::Notice`](crate::callback::Event::Notice).
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    fn phase_state(&self, phase: Phase) -> &PhaseState {
        match phase {
            Phase::Train => &self.train,
            Phase::Eval if self.entry == EntryPoint::Evaluate => &self.evaluate.newest,
            Phase::Eval => &self.eval,
            Phase::Predict => &self.predict.newest,
        }
    }

    fn phase_state_mut(&mut self, phase: Phase) -> &mut PhaseState {
        match phase {
            Phase::Train => &mut self.train,
            Phase::Eval if self.entry == EntryPoint::Evaluate => &mut self.evaluate.newest,
            Phase::Eval => &mut self.eval,
            Phase::Predict => &mut self.predict.newest,
        }
    }

    pub(crate) fn active_phase_mut(&mut self) -> &mut PhaseState {
        self.phase_state_mut(self.phase)
    }
}
