//! Metrics of a whole epoch.

use std::mem;

use crate::BoxError;
use crate::auto_unit::StepResults;
use crate::data::Rank;
use crate::metric::{ConfusionMatrix, Key, Measure, Reduction, share_counts};
use crate::saved::{Array, StateDict, Stateful};
use crate::state::{EntryPoint, Phase, Progress, State};

/// Metrics over all numbers that were kept of an epoch, and those numbers; measures and what they counted too.
pub(super) struct EpochMetrics<O, Y> {
    list: Vec<EpochMetric<O, Y>>,
    measures: Vec<Box<dyn EpochMeasure<O, Y>>>,
    /// The steps kept of the epoch of each of [`SLOTS`]; 0 if it is not under way.
    steps: [u64; 3],
}

struct EpochMetric<O, Y> {
    name: String,
    keep: Keep<O, Y>,
    finish: Finish,
    kept: [Vec<f64>; 3],
}

/// A measure of any type, of the epochs that are under way.
trait EpochMeasure<O, Y>: Send {
    fn name(&self) -> &str;
    fn kept(&mut self, slot: usize) -> &mut dyn Stateful;
    fn saved(&self, slot: usize) -> &dyn Stateful;
    fn share(&self, slot: usize, saved: &[StateDict], rank: Rank) -> Result<StateDict, BoxError>;
    fn reset(&mut self, slot: usize);
    /// Counts a batch, which belongs to no epoch until it is kept.
    fn count(&mut self, output: &O, target: &Y) -> Result<(), BoxError>;
    fn keep(&mut self, slot: usize) -> Result<(), BoxError>;
    fn merge_ranks(&mut self, slot: usize, state: &State) -> Result<(), BoxError>;
    fn log(&self, slot: usize, state: &mut State) -> Result<(), BoxError>;
}

struct Measured<M, O, Y> {
    name: String,
    count: CountBatch<M, O, Y>,
    log: LogMeasure<M>,
    batch: M,
    kept: [M; 3],
}

/// Adds a batch to a measure.
pub(super) type CountBatch<M, O, Y> = Box<dyn FnMut(&mut M, &O, &Y) -> Result<(), BoxError> + Send>;
/// Logs what a measure has counted, under this name.
pub(super) type LogMeasure<M> = fn(&M, String, &mut State) -> Result<(), BoxError>;

impl<M: Measure + Send, O, Y> EpochMeasure<O, Y> for Measured<M, O, Y> {
    fn name(&self) -> &str {
        &self.name
    }

    fn kept(&mut self, slot: usize) -> &mut dyn Stateful {
        &mut self.kept[slot]
    }

    fn saved(&self, slot: usize) -> &dyn Stateful {
        &self.kept[slot]
    }

    fn share(&self, slot: usize, saved: &[StateDict], rank: Rank) -> Result<StateDict, BoxError> {
        share_counts(&self.kept[slot], saved, rank)
    }

    fn reset(&mut self, slot: usize) {
        self.kept[slot].reset();
    }

    fn count(&mut self, output: &O, target: &Y) -> Result<(), BoxError> {
        self.batch.reset();
        (self.count)(&mut self.batch, output, target)
    }

    fn keep(&mut self, slot: usize) -> Result<(), BoxError> {
        self.kept[slot].merge(&self.batch)
    }

    fn merge_ranks(&mut self, slot: usize, state: &State) -> Result<(), BoxError> {
        self.kept[slot].merge_ranks(state)
    }

    fn log(&self, slot: usize, state: &mut State) -> Result<(), BoxError> {
        (self.log)(&self.kept[slot], format!("{}/{}", state.phase(), self.name), state)
    }
}

/// Logs the value, if there is one.
pub(super) fn log_value<M: Measure<Value = Option<f64>>>(
    measure: &M,
    name: String,
    state: &mut State,
) -> Result<(), BoxError> {
    if let Some(value) = measure.compute() {
        state.log(Key::named(name, Reduction::Mean), value, 1.0);
    }
    Ok(())
}

/// Logs the picture of the matrix, if it has samples.
pub(super) fn log_picture(matrix: &ConfusionMatrix, name: String, state: &mut State) -> Result<(), BoxError> {
    if matrix.total() > 0 {
        state.log_media(name, matrix.image()?);
    }
    Ok(())
}

pub(super) type Keep<O, Y> = Box<dyn FnMut(&O, &Y) -> Result<Vec<f64>, BoxError> + Send>;
pub(super) type Finish = Box<dyn FnMut(&[f64]) -> Result<f64, BoxError> + Send>;

/// The epochs that can be under way at once: of training, of an evaluation of `fit`, and of one by hand.
const SLOTS: [&str; 3] = ["train", "eval", "by_hand"];
const BY_HAND: usize = 2;

fn slot(state: &State) -> usize {
    match state.phase() {
        Phase::Train => 0,
        _ if state.entry_point() == EntryPoint::Fit => 1,
        _ => BY_HAND,
    }
}

impl<O, Y> EpochMetrics<O, Y> {
    pub(super) fn new() -> Self {
        EpochMetrics { list: Vec::new(), measures: Vec::new(), steps: [0; 3] }
    }

    pub(super) fn add(&mut self, name: &str, keep: Keep<O, Y>, finish: Finish) {
        let kept = Default::default();
        self.list.push(EpochMetric { name: name.to_owned(), keep, finish, kept });
    }

    pub(super) fn add_measure<M: Measure + Send + 'static>(
        &mut self,
        name: &str,
        empty: M,
        count: CountBatch<M, O, Y>,
        log: LogMeasure<M>,
    ) where
        O: 'static,
        Y: 'static,
    {
        let mut batch = empty;
        batch.reset();
        let kept = [batch.clone(), batch.clone(), batch.clone()];
        self.measures.push(Box::new(Measured { name: name.to_owned(), count, log, batch, kept }));
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let of_measures = self.measures.iter().map(|measure| measure.name());
        self.list.iter().map(|metric| &*metric.name).chain(of_measures)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.measures.is_empty()
    }

    pub(super) fn begin(&mut self, state: &State) {
        let slot = slot(state);
        self.steps[slot] = 0;
        self.clear(slot);
    }

    /// Keeps the numbers of a step: of all metrics, or of none. A step that does not count has none.
    pub(super) fn keep(
        &mut self,
        state: &State,
        results: &StepResults<O>,
        target: &Y,
    ) -> Result<(), BoxError> {
        if self.is_empty() {
            return Ok(());
        }
        let slot = slot(state);
        if self.steps[slot] != state.progress().steps_in_epoch {
            // Told at the end of the epoch.
            if slot != BY_HAND {
                return Ok(());
            }
            return Err(format!(
                "{}: the numbers of the pass that goes on are no longer there; another pass by hand has run, so begin \
                 this one again",
                self.told()
            )
            .into());
        }
        if results.counted_weight() == 0.0 {
            self.steps[slot] += 1;
            return Ok(());
        }
        let output = &results.output;
        let new = |metric: &mut EpochMetric<O, Y>| {
            (metric.keep)(output, target).map_err(|cause| format!("metric `{}`: {cause}", metric.name).into())
        };
        let new = self.list.iter_mut().map(new).collect::<Result<Vec<_>, BoxError>>()?;
        for measure in &mut self.measures {
            let counted = measure.count(output, target);
            counted.map_err(|cause| format!("metric `{}`: {cause}", measure.name()))?;
        }
        if let Err(error) = self.measures.iter_mut().try_for_each(|measure| measure.keep(slot)) {
            // Some have this step and others do not, so the epoch is without any.
            self.steps[slot] = 0;
            self.clear(slot);
            return Err(error);
        }
        for (metric, new) in self.list.iter_mut().zip(new) {
            metric.kept[slot].extend(new);
        }
        self.steps[slot] += 1;
        Ok(())
    }

    /// The names, for a message.
    fn told(&self) -> String {
        let names: Vec<&str> = self.names().collect();
        format!("`{}`", names.join("`, `"))
    }

    /// Logs the metrics of the epoch that ends, if numbers were kept, and those of all its steps.
    pub(super) fn end(&mut self, state: &mut State) -> Result<(), BoxError> {
        let (slot, phase) = (slot(state), state.phase());
        let Progress { epochs, steps_in_last_epoch, .. } = state.progress();
        let steps = mem::take(&mut self.steps[slot]);
        if self.is_empty() {
            return Ok(());
        }
        if !self.unite(slot, steps == steps_in_last_epoch, state)? {
            // A metric failed in a step of training, which is not repeated, or was not there in the first steps.
            self.clear(slot);
            let names = self.told();
            state.notify(format!(
                "epoch {epochs} of {phase} is without {names}: the numbers of some of its steps are missing"
            ));
            return Ok(());
        }
        // The values are those of all ranks, so one logs them.
        if !state.rank().is_first() {
            self.clear(slot);
            return Ok(());
        }
        for EpochMetric { name, finish, kept, .. } in &mut self.list {
            if kept[slot].is_empty() {
                continue;
            }
            let value = finish(&kept[slot]).map_err(|cause| format!("metric `{name}`: {cause}"))?;
            state.log(Key::named(format!("{phase}/{name}"), Reduction::Mean), value, 1.0);
            kept[slot].clear();
        }
        for measure in &mut self.measures {
            let logged = measure.log(slot, state);
            logged.map_err(|cause| format!("metric `{}`: {cause}", measure.name()))?;
            measure.reset(slot);
        }
        Ok(())
    }
}

impl<O, Y> EpochMetrics<O, Y> {
    fn clear(&mut self, slot: usize) {
        self.list.iter_mut().for_each(|metric| metric.kept[slot].clear());
        self.measures.iter_mut().for_each(|measure| measure.reset(slot));
    }

    /// Makes the numbers of an epoch that ends those of all ranks, in the order of the ranks. Returns whether all
    /// steps of each rank are in them, given whether those of this one are.
    fn unite(&mut self, slot: usize, is_whole: bool, state: &State) -> Result<bool, BoxError> {
        let Some(peers) = state.peers() else { return Ok(is_whole) };
        let mut own = StateDict::new();
        own.insert("is_whole", u8::from(is_whole))?;
        for metric in &mut self.list {
            let kept = mem::take(&mut metric.kept[slot]);
            own.insert(format!("kept.{}", metric.name), Array::from_slice(&kept))?;
        }
        let (mut all_are_whole, all) = (true, peers.gather_states(&own)?);
        for of_rank in &all {
            all_are_whole &= of_rank.get::<u8>("is_whole")? != 0;
            for metric in &mut self.list {
                metric.kept[slot].extend(of_rank.array(&format!("kept.{}", metric.name))?.to_vec::<f64>()?);
            }
        }
        self.measures.iter_mut().try_for_each(|measure| measure.merge_ranks(slot, state))?;
        Ok(all_are_whole)
    }
}

impl<O, Y> EpochMetrics<O, Y> {
    /// The saved arrays of each slot whose epoch is under way with the same metrics; the epoch of another is left out.
    fn under_way(&self, dict: &StateDict) -> [Option<StateDict>; 3] {
        SLOTS.map(|of| {
            let kept = dict.under(&format!("{of}.kept"));
            self.names().all(|name| !kept.under(name).is_empty()).then_some(kept)
        })
    }

    /// After an error a part is replaced.
    fn replace(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let saved = self.under_way(dict);
        for (slot, saved) in saved.iter().enumerate() {
            self.clear(slot);
            self.steps[slot] = 0;
            let Some(saved) = saved else { continue };
            for metric in &mut self.list {
                metric.kept[slot].load_state_dict(&saved.under(&metric.name))?;
            }
            for measure in &mut self.measures {
                let dict = saved.under(measure.name());
                measure.kept(slot).load_state_dict(&dict)?;
            }
            self.steps[slot] = dict.count(&format!("{}.steps", SLOTS[slot]))?;
        }
        Ok(())
    }
}

/// The numbers of the epochs under way.
impl<O, Y> Stateful for EpochMetrics<O, Y> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        for (slot, of) in SLOTS.into_iter().enumerate().filter(|&(slot, _)| self.steps[slot] > 0) {
            dict.insert(format!("{of}.steps"), self.steps[slot])?;
            for metric in &self.list {
                dict.insert_all(&format!("{of}.kept.{}", metric.name), metric.kept[slot].state_dict()?)?;
            }
            for measure in &self.measures {
                dict.insert_all(&format!("{of}.kept.{}", measure.name()), measure.saved(slot).state_dict()?)?;
            }
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let old = self.state_dict()?;
        self.replace(dict).or_else(|error| self.replace(&old).and(Err(error)))
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        for (slot, saved) in self.under_way(dict).iter().enumerate() {
            let Some(saved) = saved else { continue };
            for metric in &self.list {
                metric.kept[slot].check_state_dict(&saved.under(&metric.name))?;
            }
            for measure in &self.measures {
                measure.saved(slot).check_state_dict(&saved.under(measure.name()))?;
            }
            dict.count(&format!("{}.steps", SLOTS[slot]))?;
        }
        Ok(())
    }

    fn is_of_rank(&self, _name: &str) -> bool {
        true
    }

    /// The numbers of all ranks go on on rank 0. The others have kept none of as many steps.
    fn share(&self, saved: &[StateDict], rank: Rank) -> Result<StateDict, BoxError> {
        let first = saved.first().ok_or("no rank was saved")?;
        let mut share = StateDict::new();
        let under_way = self.under_way(first);
        for (slot, of) in SLOTS.into_iter().enumerate().filter(|&(slot, _)| under_way[slot].is_some()) {
            let steps = format!("{of}.steps");
            share.insert(&*steps, first.array(&steps)?.clone())?;
            for metric in &self.list {
                let name = format!("{of}.kept.{}.values", metric.name);
                let mut kept = Vec::new();
                for state in saved.iter().filter(|_| rank.is_first()) {
                    kept.extend(state.array(&name)?.to_vec::<f64>()?);
                }
                share.insert(name, Array::from_slice(&kept))?;
            }
            for measure in &self.measures {
                let prefix = format!("{of}.kept.{}", measure.name());
                let of_ranks: Vec<StateDict> = saved.iter().map(|state| state.under(&prefix)).collect();
                share.insert_all(&prefix, measure.share(slot, &of_ranks, rank)?)?;
            }
        }
        Ok(share)
    }
}
