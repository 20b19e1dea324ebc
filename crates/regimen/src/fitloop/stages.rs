//! A task of stages: closures for the steps and for the starts and ends of epochs.

use std::fmt;

use super::series::Series;
use super::{History, Record, RunStatus};
use crate::auto_unit::{EVAL_LOSS, StepResults, TRAIN_LOSS};
use crate::data::Rank;
use crate::engine::{Engine, ToDevice};
use crate::metric::{Key, Metric, Reduction};
use crate::runner::Supervised;
use crate::saved::{Array, StateDict, Stateful};
use crate::state::{EntryPoint, Phase, Stop};
use crate::{BoxError, Loss, State, Step, Task};

/// The data that an epoch runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Set {
    /// The training set.
    Train,
    /// The validation set.
    Valid,
    /// The test set.
    Test,
}

impl Set {
    /// Every set, in order.
    pub const ALL: [Set; 3] = [Set::Train, Set::Valid, Set::Test];

    /// `train`, `valid` or `test`.
    pub const fn name(self) -> &'static str {
        match self {
            Set::Train => "train",
            Set::Valid => "valid",
            Set::Test => "test",
        }
    }
}

/// The step under way: given to a [`step`](super::FitLoop::step).
pub struct StageStep<'s, E: Engine, X, Y, O> {
    set: Set,
    step: &'s Step,
    net: &'s E::Module,
    batch: &'s (X, Y),
    own: &'s mut Supervised<E, X, Y, O>,
}

impl<'s, E: Engine, X, Y, O> StageStep<'s, E, X, Y, O> {
    /// The module.
    pub fn net(&self) -> &'s E::Module {
        self.net
    }

    /// The batch, on the device of the module: input and target.
    pub fn batch(&self) -> &'s (X, Y) {
        self.batch
    }

    /// The samples of the batch, as the data counts them.
    pub fn batch_size(&self) -> f64 {
        self.step.samples as f64
    }

    /// The output of the loop's forward pass for this batch.
    pub fn output(&mut self) -> O {
        self.own.output(self.step, self.net, &self.batch.0)
    }

    /// The loss of `output` by the loop's criterion. Its [terms](crate::runner::Terms) are recorded with it, under
    /// their names.
    pub fn loss(&mut self, output: &O) -> Result<Loss<E::Scalar>, BoxError> {
        self.own.loss(self.step, output, &self.batch.1)
    }

    /// The set of this batch.
    pub fn set(&self) -> Set {
        self.set
    }

    /// Number, mode and seed of the step.
    pub fn step(&self) -> &'s Step {
        self.step
    }
}

impl<E: Engine, X, Y, O> fmt::Debug for StageStep<'_, E, X, Y, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageStep").field("set", &self.set).field("step", self.step).finish_non_exhaustive()
    }
}

/// The start or end of an epoch: given to an [`epoch_start`](super::FitLoop::epoch_start) and an
/// [`epoch_end`](super::FitLoop::epoch_end).
///
/// Among several [ranks](crate::Run::peers) each is called with the values of all: those of rank 0 in the order of its
/// steps, then those of rank 1. Sums, means and sizes are those of all ranks.
#[derive(Debug)]
pub struct StageEpoch<'s> {
    set: Set,
    epoch: u64,
    series: &'s Series,
    dataset: Option<u64>,
}

impl StageEpoch<'_> {
    /// The set of the epoch.
    pub fn set(&self) -> Set {
        self.set
    }

    /// The number of the epoch over its set, from 1.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The samples of the epoch's steps, as the data counts them.
    pub fn size(&self) -> f64 {
        self.series.samples as f64
    }

    /// The samples of the data, which may be more than those of the steps, as with a capped epoch or a dropped last batch.
    /// Returns `None` if the data do not [say](crate::data::Data::samples).
    pub fn dataset_size(&self) -> Option<f64> {
        self.dataset.map(|samples| samples as f64)
    }

    /// The values that the steps recorded under `name`, in order; `loss` is always among the names. One that no step
    /// recorded is an error. Values on the device are read here.
    ///
    /// They are those of all steps, also of a step whose loss has the weight 0 or whose update was skipped. The
    /// [history](super::History) has the same. Among several ranks they are those of this one, and after a restore those of
    /// the first.
    pub fn values(&self, name: &str) -> Result<Vec<f64>, BoxError> {
        self.series.values(name)
    }

    /// The sum of those values.
    pub fn sum(&self, name: &str) -> Result<f64, BoxError> {
        // An empty `sum` is -0.
        Ok(self.values(name)?.iter().fold(0.0, |sum, value| sum + value))
    }

    /// The mean of those values, as it is logged: with the weights of the losses of their steps, which are the samples
    /// unless a loss has a weight of its own. A step whose loss has the weight 0 does not count, nor does one that was
    /// skipped because its loss was not finite. NaN if no step counts.
    pub fn mean(&self, name: &str) -> Result<f64, BoxError> {
        self.series.mean(name)
    }
}

pub(super) type StepStage<E, X, Y, O> = Box<
    dyn FnMut(
            &mut StageStep<'_, E, X, Y, O>,
        ) -> Result<(Loss<<E as Engine>::Scalar>, Record<<E as Engine>::Scalar>), BoxError>
        + Send,
>;

pub(super) type EpochStage = Box<dyn FnMut(&StageEpoch<'_>) -> Result<Record, BoxError> + Send>;

/// The task of a [`FitLoop`](super::FitLoop).
pub struct Stages<E: Engine, X, Y, O> {
    pub(super) own: Supervised<E, X, Y, O>,
    pub(super) steps: ByList<StepStage<E, X, Y, O>>,
    pub(super) starts: ByList<EpochStage>,
    pub(super) ends: ByList<EpochStage>,
    /// The values of the newest epoch of each [slot].
    series: [Series; 4],
    /// Whether it ended among several ranks, and its values are those of all.
    united: [bool; 4],
    /// The record of the newest epoch of each slot; empty until the epoch ends.
    ended: [Vec<(String, f64)>; 4],
    /// The samples of the data of each set, as far as known.
    pub(super) sizes: [Option<u64>; 3],
    pub(super) history: History,
    /// Whether the history keeps the values of steps.
    pub(super) tracks_steps: bool,
    /// Keys of the values of steps, made once.
    keys: Vec<(Set, &'static str, Key)>,
    /// Samples of the step under way.
    samples: u64,
    /// Whether a pass by hand is that over the test set.
    pub(super) tests: bool,
    /// The epoch at which the newest fit ends.
    pub(super) goal: u64,
    /// The training steps at which it ended. `None` while it is open: under way, paused or failed.
    pub(super) ended_at: Option<u64>,
    /// The metric of the score, and the score before the first validation, if there are criteria and data for one.
    pub(super) score: Option<(Key, f64)>,
}

/// Stages, and the one of each set.
pub(super) struct ByList<F> {
    list: Vec<F>,
    of: [Option<usize>; 3],
}

impl<F> ByList<F> {
    fn new() -> Self {
        ByList { list: Vec::new(), of: [None; 3] }
    }

    /// Gives a stage to `sets`.
    pub(super) fn set(&mut self, sets: &[Set], stage: F) {
        sets.iter().for_each(|&set| self.of[set as usize] = Some(self.list.len()));
        self.list.push(stage);
    }

    fn of(&mut self, set: Set) -> Option<&mut F> {
        self.of[set as usize].and_then(|n| self.list.get_mut(n))
    }
}

impl<E: Engine, X, Y, O> Stages<E, X, Y, O> {
    pub(super) fn new(own: Supervised<E, X, Y, O>) -> Self {
        let (steps, starts, ends) = (ByList::new(), ByList::new(), ByList::new());
        let (series, ended) = Default::default();
        Stages {
            own,
            steps,
            starts,
            ends,
            series,
            united: [false; 4],
            ended,
            sizes: [None; 3],
            history: History::default(),
            tracks_steps: true,
            keys: Vec::new(),
            samples: 0,
            tests: false,
            goal: 0,
            ended_at: Some(0),
            score: None,
        }
    }

    /// The record of the newest epoch over `set`, in order. Empty until that epoch ends.
    pub fn record(&self, set: Set) -> &[(String, f64)] {
        &self.ended[set as usize]
    }

    /// The values that the stages returned.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The set and the record of the newest evaluation by hand.
    pub(super) fn by_hand(&self) -> (Set, &[(String, f64)]) {
        match self.evaluated() {
            Set::Test => (Set::Test, self.record(Set::Test)),
            set => (set, &self.ended[BY_HAND]),
        }
    }

    /// The set of an evaluation.
    fn evaluated(&self) -> Set {
        if self.tests { Set::Test } else { Set::Valid }
    }

    /// The key of a value of a step.
    fn key(&mut self, set: Set, name: &'static str) -> Result<Key, BoxError> {
        if self.own.has_term(name) {
            return Err(
                format!("a term of the loss is named `{name}`; give the value of the step another").into()
            );
        }
        if let Some((.., key)) = self.keys.iter().find(|(of, known, _)| (*of, *known) == (set, name)) {
            return Ok(key.clone());
        }
        if name == "loss" {
            return Err("a step's `loss` is recorded by itself; give another name".into());
        }
        let key = named(set, name, Reduction::Mean);
        self.keys.push((set, name, key.clone()));
        Ok(key)
    }

    fn start(&mut self, set: Set, state: &mut State) -> Result<(), BoxError> {
        let slot = slot(set, state);
        let (epoch, series) = (state.progress().epochs + 1, &self.series[slot]);
        let dataset = self.sizes[set as usize];
        let started = self
            .starts
            .of(set)
            .map(|start| start(&StageEpoch { set, epoch, series, dataset })?.into_numbers());
        let started = started.transpose()?.unwrap_or_default();
        for &(name, value) in &started {
            state.log(named(set, name, Reduction::Last), value, 1.0);
        }
        if slot != BY_HAND {
            let run = self.history.open(set);
            started.iter().for_each(|(name, value)| run.add_epoch_start(name, *value));
        }
        (self.series[slot], self.united[slot]) = (Series::default(), false);
        self.ended[slot].clear();
        Ok(())
    }

    fn count<R>(&mut self, set: Set, state: &State, results: &StepResults<R>) {
        let series = &mut self.series[slot(set, state)];
        series.samples += self.samples;
        for (key, value) in results.values() {
            let name = key.name();
            let name = name.split_once('/').map_or(name, |(_, name)| name);
            series.push(name, value.clone(), results.counted_weight());
        }
        series.push("loss", results.loss_reading().clone(), results.counted_weight());
    }

    fn end(&mut self, set: Set, phase: Phase, state: &mut State) -> Result<(), BoxError> {
        let slot = slot(set, state);
        let mut run = match slot {
            BY_HAND => None,
            _ => Some(self.history.open(set)),
        };
        if let Some(run) = run.as_deref_mut().filter(|_| self.tracks_steps) {
            for (name, values) in self.series[slot].all() {
                run.add_steps(name, &values?);
            }
        }
        if let Some(peers) = state.peers() {
            self.series[slot].unite(&**peers)?;
            self.united[slot] = true;
        }
        // The record is of all ranks, also that of the metrics.
        state.share_metrics()?;
        let (epoch, series) = (state.progress().epochs, &self.series[slot]);
        let dataset = self.sizes[set as usize];
        let record = match self.ends.of(set) {
            None => {
                let metric = |metric: &Metric| {
                    let name = metric.key().name().strip_prefix(phase.name())?.strip_prefix('/')?;
                    Some((name.to_owned(), metric.so_far()?))
                };
                state.metrics(phase).iter().filter_map(metric).collect()
            }
            Some(end) => {
                let record = end(&StageEpoch { set, epoch, series, dataset })?.into_numbers()?;
                for &(name, value) in &record {
                    match name {
                        // It is logged already, at each step.
                        "loss" => check_loss(value, series, phase, state)?,
                        _ => state.log(named(set, name, Reduction::Last), value, 1.0),
                    }
                }
                record.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Vec<_>>()
            }
        };
        if let Some(run) = run {
            record.iter().for_each(|(name, value)| run.add_epoch_end(name, *value));
        }
        self.ended[slot] = record;
        Ok(())
    }
}

/// Refuses a loss in a record that is not the logged one, but for rounding.
fn check_loss(value: f64, series: &Series, phase: Phase, state: &State) -> Result<(), BoxError> {
    let key = if phase == Phase::Train { TRAIN_LOSS } else { EVAL_LOSS };
    let Some(logged) = state.metrics(phase).get(&key).and_then(Metric::so_far) else { return Ok(()) };
    let is_same = |other: f64| {
        value == other || (value - other).abs() <= ROUNDING * other.abs() || value.is_nan() && other.is_nan()
    };
    if is_same(logged) || is_same(series.mean("loss")?) {
        return Ok(());
    }
    Err(format!(
        "`loss` is {value} in the record of the epoch, and {logged} in the log, which is the mean of the losses of the \
         steps; give another value another name"
    )
    .into())
}

/// The relative error of a loss that is computed otherwise, such as from its terms in single precision.
const ROUNDING: f64 = 1e-6;

/// The names of the slots: that of each set, and that of an evaluation by hand, which is no validation.
const SLOTS: [&str; 4] = ["train", "valid", "test", "by_hand"];
const BY_HAND: usize = 3;

/// Before the values of an epoch that ended among several ranks.
const UNITED: &str = "united";

/// The index of an epoch over `set`.
fn slot(set: Set, state: &State) -> usize {
    match set {
        Set::Valid if state.entry_point() != EntryPoint::Fit => BY_HAND,
        _ => set as usize,
    }
}

/// The key of a value: `train/NAME`, or `eval/NAME` for both other sets.
fn named(set: Set, name: &str, reduction: Reduction) -> Key {
    let phase = if set == Set::Train { Phase::Train } else { Phase::Eval };
    Key::named(format!("{phase}/{name}"), reduction)
}

impl<E: Engine, X, Y, O> Task<E> for Stages<E, X, Y, O>
where
    X: ToDevice<E::Device>,
    Y: ToDevice<E::Device>,
{
    type Batch = (X, Y);
    type Output = ();

    fn compute_loss(
        &mut self,
        step: &Step,
        net: &E::Module,
        batch: &(X, Y),
    ) -> Result<(Loss<E::Scalar>, ()), BoxError> {
        self.samples = step.samples;
        let set = if step.is_train() { Set::Train } else { self.evaluated() };
        let Stages { own, steps, .. } = self;
        let Some(stage) = steps.of(set) else {
            return Ok((own.compute_loss(step, net, batch)?.0, ()));
        };
        own.begin_step();
        let (mut loss, record) = stage(&mut StageStep { set, step, net, batch, own })?;
        for (name, value) in record.into_values()? {
            loss = loss.with(self.key(set, name)?, value);
        }
        Ok((loss, ()))
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }

    fn on_train_start(&mut self, _state: &mut State) -> Result<(), BoxError> {
        self.own.check()
    }

    fn on_train_epoch_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.start(Set::Train, state)
    }

    fn on_train_step_end(
        &mut self,
        state: &mut State,
        _batch: &(X, Y),
        results: StepResults<()>,
    ) -> Result<(), BoxError> {
        self.count(Set::Train, state, &results);
        Ok(())
    }

    fn on_train_epoch_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.end(Set::Train, Phase::Train, state)
    }

    fn on_train_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        let is_paused = matches!(state.stopping(), Some(Stop::Pause(_)));
        if !is_paused {
            self.history.end(Set::Train, RunStatus::Complete);
            let is_finished = state.stopping().is_some() || self.goal <= state.train_progress().epochs;
            // A training by hand may end before the fit that was paused.
            if self.ended_at.is_none() && is_finished {
                self.ended_at = Some(state.train_progress().steps);
            }
        }
        Ok(())
    }

    fn on_eval_start(&mut self, _state: &mut State) -> Result<(), BoxError> {
        self.own.check()
    }

    fn on_eval_epoch_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.start(self.evaluated(), state)
    }

    fn on_eval_step_end(
        &mut self,
        state: &mut State,
        _batch: &(X, Y),
        results: StepResults<()>,
    ) -> Result<(), BoxError> {
        self.count(self.evaluated(), state, &results);
        Ok(())
    }

    fn on_eval_epoch_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.end(self.evaluated(), Phase::Eval, state)
    }
}

/// The state that [`Stages`] read.
struct Read {
    goal: u64,
    ended_at: Option<u64>,
    series: [Series; 4],
    united: [bool; 4],
    ended: [Vec<(String, f64)>; 4],
    history: History,
}

impl Read {
    fn of(dict: &StateDict) -> Result<Self, BoxError> {
        let (series, united, ended) = Default::default();
        let mut read =
            Read { goal: 0, ended_at: Some(0), series, united, ended, history: History::default() };
        read.history.load_state_dict(&dict.under("history"))?;
        if !dict.is_empty() {
            read.goal = dict.count("goal")?;
            read.ended_at = if dict.contains("ended_at") { Some(dict.count("ended_at")?) } else { None };
            let slots = SLOTS.into_iter().zip(&mut read.series).zip(&mut read.united).zip(&mut read.ended);
            for (((name, series), united), ended) in slots {
                let dict = dict.under(name);
                *united = dict.contains(&format!("{UNITED}.samples"));
                series.load_state_dict(&if *united { dict.under(UNITED) } else { dict.clone() })?;
                let names: Vec<String> = serde_json::from_str(&dict.array("record")?.to_text()?)?;
                let values = dict.array("record_values")?.to_vec::<f64>()?;
                *ended = names.into_iter().zip(values).collect();
            }
        }
        Ok(read)
    }
}

/// The values of the epochs under way, the records of those that ended, the history, and the end of the newest fit.
impl<E: Engine, X, Y, O> Stateful for Stages<E, X, Y, O> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("goal", self.goal)?;
        if let Some(steps) = self.ended_at {
            dict.insert("ended_at", steps)?;
        }
        dict.insert_all("history", self.history.state_dict()?)?;
        let slots = SLOTS.into_iter().zip(&self.series).zip(self.united).zip(&self.ended);
        for (((name, series), united), ended) in slots {
            let of = if united { format!("{name}.{UNITED}") } else { name.to_owned() };
            dict.insert_all(&of, series.state_dict()?)?;
            let (names, values): (Vec<&String>, Vec<f64>) =
                ended.iter().map(|(name, value)| (name, *value)).unzip();
            dict.insert(format!("{name}.record"), Array::from_text(&serde_json::to_string(&names)?))?;
            dict.insert(format!("{name}.record_values"), Array::from_slice(&values))?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let Read { goal, ended_at, series, united, ended, history } = Read::of(dict)?;
        (self.goal, self.ended_at) = (goal, ended_at);
        (self.series, self.united, self.ended, self.history) = (series, united, ended, history);
        Ok(())
    }

    /// The values of an epoch under way.
    fn is_of_rank(&self, name: &str) -> bool {
        let of_slot = SLOTS.iter().find_map(|slot| name.strip_prefix(slot)?.strip_prefix('.'));
        of_slot.is_some_and(|name| {
            ["samples", "values.", "weights."].iter().any(|prefix| name.starts_with(prefix))
        })
    }

    /// The values of all ranks go on on rank 0.
    fn share(&self, saved: &[StateDict], rank: Rank) -> Result<StateDict, BoxError> {
        let mut share = StateDict::new();
        for slot in SLOTS {
            let states: Vec<StateDict> = saved.iter().map(|state| state.under(slot)).collect();
            if states.iter().all(StateDict::is_empty) {
                continue;
            }
            let states = if rank.is_first() { &*states } else { &[] };
            share.insert_all(slot, Series::of_ranks(states)?.state_dict()?)?;
        }
        Ok(share)
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        Read::of(dict).map(drop)
    }
}

impl<E: Engine, X, Y, O> fmt::Debug for Stages<E, X, Y, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stages").field("ended", &self.ended).finish_non_exhaustive()
    }
}
