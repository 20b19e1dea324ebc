//! Metrics of a whole epoch.

use std::mem;

use crate::BoxError;
use crate::auto_unit::StepResults;
use crate::data::Rank;
use crate::metric::{ConfusionMatrix, Key, Measure, Reduction};
use crate::saved::{Array, Dtype, StateDict, Stateful};
use crate::state::{EntryPoint, Phase, Progress, State};

/// Metrics over all numbers that were kept of an epoch, and those numbers; a confusion matrix too.
pub(super) struct EpochMetrics<O, Y> {
    list: Vec<EpochMetric<O, Y>>,
    matrix: Option<EpochMatrix<O, Y>>,
    /// The steps kept of the epoch of each of [`SLOTS`]; 0 if it is not under way.
    steps: [u64; 3],
}

struct EpochMetric<O, Y> {
    name: String,
    keep: Keep<O, Y>,
    finish: Finish,
    kept: [Vec<f64>; 3],
}

struct EpochMatrix<O, Y> {
    count: CountBatch<O, Y>,
    kept: [ConfusionMatrix; 3],
}

/// Its name, behind that of the phase.
const MATRIX: &str = "confusion_matrix";

pub(super) type CountBatch<O, Y> =
    Box<dyn FnMut(&mut ConfusionMatrix, &O, &Y) -> Result<(), BoxError> + Send>;
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
        EpochMetrics { list: Vec::new(), matrix: None, steps: [0; 3] }
    }

    pub(super) fn add(&mut self, name: &str, keep: Keep<O, Y>, finish: Finish) {
        let kept = Default::default();
        self.list.push(EpochMetric { name: name.to_owned(), keep, finish, kept });
    }

    pub(super) fn add_matrix(&mut self, empty: ConfusionMatrix, count: CountBatch<O, Y>) {
        self.matrix = Some(EpochMatrix { count, kept: [empty.clone(), empty.clone(), empty] });
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|metric| &*metric.name).chain(self.matrix.as_ref().map(|_| MATRIX))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.matrix.is_none()
    }

    pub(super) fn begin(&mut self, state: &State) {
        let slot = slot(state);
        self.steps[slot] = 0;
        self.list.iter_mut().for_each(|metric| metric.kept[slot].clear());
        self.matrix.iter_mut().for_each(|matrix| matrix.kept[slot].reset());
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
        if let Some(EpochMatrix { count, kept }) = &mut self.matrix {
            count(&mut kept[slot], output, target).map_err(|cause| format!("metric `{MATRIX}`: {cause}"))?;
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
        if let Some(EpochMatrix { kept, .. }) = &mut self.matrix
            && kept[slot].total() > 0
        {
            state.log_media(format!("{phase}/{MATRIX}"), kept[slot].image()?);
            kept[slot].reset();
        }
        Ok(())
    }
}

impl<O, Y> EpochMetrics<O, Y> {
    fn clear(&mut self, slot: usize) {
        self.list.iter_mut().for_each(|metric| metric.kept[slot].clear());
        self.matrix.iter_mut().for_each(|matrix| matrix.kept[slot].reset());
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
        self.matrix.iter_mut().try_for_each(|matrix| matrix.kept[slot].merge_ranks(state))?;
        Ok(all_are_whole)
    }
}

/// The state that [`EpochMetrics`] reads.
struct Read {
    steps: [u64; 3],
    /// Of each metric of the list.
    kept: Vec<[Vec<f64>; 3]>,
    matrices: Option<[ConfusionMatrix; 3]>,
}

impl<O, Y> EpochMetrics<O, Y> {
    fn read(&self, dict: &StateDict) -> Result<Read, BoxError> {
        let kept = self.list.iter().map(|_| Default::default()).collect();
        let matrices = self.matrix.as_ref().map(|matrix| matrix.kept.clone());
        let mut read = Read { steps: [0; 3], kept, matrices };
        read.matrices.iter_mut().flatten().for_each(ConfusionMatrix::reset);
        for (slot, of) in SLOTS.into_iter().enumerate() {
            let saved = |name: &str| dict.under(&format!("{of}.kept.{name}"));
            // Not under way, or without a metric: its epoch is left out.
            if self.names().any(|name| saved(name).is_empty()) {
                continue;
            }
            read.steps[slot] = dict.count(&format!("{of}.steps"))?;
            for (metric, kept) in self.list.iter().zip(&mut read.kept) {
                kept[slot].load_state_dict(&saved(&metric.name))?;
            }
            if let Some(kept) = &mut read.matrices {
                kept[slot].load_state_dict(&saved(MATRIX))?;
            }
        }
        Ok(read)
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
            if let Some(matrix) = &self.matrix {
                dict.insert_all(&format!("{of}.kept.{MATRIX}"), matrix.kept[slot].state_dict()?)?;
            }
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let Read { steps, kept, matrices } = self.read(dict)?;
        self.steps = steps;
        self.list.iter_mut().zip(kept).for_each(|(metric, kept)| metric.kept = kept);
        self.matrix.iter_mut().zip(matrices).for_each(|(matrix, kept)| matrix.kept = kept);
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.read(dict).map(drop)
    }

    fn is_of_rank(&self, _name: &str) -> bool {
        true
    }

    /// The numbers of all ranks go on on rank 0. The others have kept none of as many steps.
    fn share(&self, saved: &[StateDict], rank: Rank) -> Result<StateDict, BoxError> {
        let mut share = StateDict::new();
        for (name, array) in saved.first().ok_or("no rank was saved")?.iter() {
            let of_ranks = || saved.iter().map(|state| state.array(name));
            let shared = match (array.dtype(), name.ends_with(".steps")) {
                (_, true) => array.clone(),
                (Dtype::F64, _) => {
                    let kept: Vec<Vec<f64>> =
                        of_ranks().map(|kept| kept?.to_vec()).collect::<Result<_, BoxError>>()?;
                    Array::from_slice(&if rank.is_first() { kept.concat() } else { Vec::new() })
                }
                _ => {
                    let mut sums = vec![0; array.to_vec::<u64>()?.len()];
                    for counts in of_ranks().filter(|_| rank.is_first()) {
                        sums.iter_mut().zip(counts?.to_vec::<u64>()?).for_each(|(sum, count)| *sum += count);
                    }
                    Array::from_slice(&sums)
                }
            };
            share.insert(name, shared)?;
        }
        Ok(share)
    }
}
