//! The state of one phase, and of the passes by hand.

use std::collections::BTreeMap;

use super::agree::Sharing;
use super::{EpochSamples, Progress};
use crate::BoxError;
use crate::data::Position;
use crate::metric::Metrics;
use crate::saved::{Array, StateDict, Stateful};

/// The progress and metrics of one phase.
#[derive(Clone, Debug, Default)]
pub(crate) struct PhaseState {
    pub(crate) progress: Progress,
    /// Cadences are due by the change since: the progress after the last step or epoch that was sent to
    /// all callbacks.
    pub(crate) due_from: Progress,
    pub(crate) metrics: Metrics,
    pub(crate) sharing: Sharing,
    /// The epoch has begun, and has neither ended by its data nor by its cap.
    pub(crate) epoch_open: bool,
    /// The batch fetched last is the last of its epoch.
    pub(crate) last_in_epoch: bool,
    pub(crate) position: Option<Position>,
    /// Batches per epoch of the data in the newest call. `None` if unknown.
    pub(crate) batches: Option<u64>,
    /// Samples of the epoch under way, on all ranks and on this one. `None` if it was restored.
    pub(crate) shares: Option<EpochSamples>,
    /// Samples of the batch fetched last.
    pub(crate) samples_at_hand: u64,
    /// The step at hand has happened, even if something fails after this.
    pub(crate) is_committed: bool,
    /// Numbers of notices and of media before the step at hand, and whether the batch before it was the last.
    pub(crate) before_step: (usize, usize, bool),
    /// The weights of the epoch: training steps when it began, and how often the weights had been
    /// replaced without one.
    pub(crate) begun: Option<(u64, u64)>,
    /// The position of the sink of a prediction.
    pub(crate) sink: StateDict,
}

impl PhaseState {
    /// Drops an epoch under way.
    pub(crate) fn drop_epoch(&mut self) {
        self.progress.steps_in_epoch = 0;
        self.metrics.begin_epoch();
        (self.epoch_open, self.last_in_epoch, self.position) = (false, false, None);
    }
}

impl Stateful for PhaseState {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert_all("progress", self.progress.state_dict()?)?;
        dict.insert_all("metrics", self.metrics.state_dict()?)?;
        dict.insert("epoch_open", u8::from(self.epoch_open))?;
        dict.insert("last_in_epoch", u8::from(self.last_in_epoch))?;
        if let Some(position) = &self.position {
            dict.insert("position", Array::from_slice(position.as_bytes()))?;
        }
        if let Some(batches) = self.batches {
            dict.insert("batches", batches)?;
        }
        if let Some((steps, others)) = self.begun {
            dict.insert("begun", Array::from_slice(&[steps, others]))?;
        }
        dict.insert_all("sink", self.sink.clone())?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let mut loaded = PhaseState::default();
        loaded.progress.load_state_dict(&dict.under("progress"))?;
        loaded.due_from = loaded.progress;
        loaded.metrics.load_state_dict(&dict.under("metrics"))?;
        loaded.epoch_open = dict.get::<u8>("epoch_open")? != 0;
        // Older checkpoints lack it, and have no epoch open at its end that matters.
        if dict.contains("last_in_epoch") {
            loaded.last_in_epoch = dict.get::<u8>("last_in_epoch")? != 0;
        }
        if dict.contains("position") {
            loaded.position = Some(Position::new(&dict.array("position")?.to_vec::<u8>()?));
        }
        if dict.contains("batches") {
            loaded.batches = Some(dict.count("batches")?);
        }
        if dict.contains("begun") {
            let begun = dict.array("begun")?.to_vec()?;
            loaded.begun = begun.first_chunk::<2>().map(|&[steps, others]| (steps, others));
        }
        loaded.sink = dict.under("sink");
        *self = loaded;
        Ok(())
    }
}

/// The passes by hand of one phase.
#[derive(Debug, Default)]
pub(crate) struct ByHand {
    /// The newest one, and its name if it can be resumed.
    pub(crate) newest: PhaseState,
    pub(crate) name: Option<String>,
    /// Older ones that can be resumed.
    named: BTreeMap<String, PhaseState>,
}

impl ByHand {
    /// Starts a pass from the beginning, or continues the one of this name.
    pub(crate) fn begin(&mut self, name: Option<&str>) {
        if let Some(name) = self.name.take() {
            self.named.insert(name, std::mem::take(&mut self.newest));
        }
        self.newest = name.and_then(|name| self.named.remove(name)).unwrap_or_default();
        self.name = name.map(str::to_owned);
    }

    /// Those that can be resumed.
    fn named(&self) -> impl Iterator<Item = (&String, &PhaseState)> {
        self.named.iter().chain(self.name.iter().map(|name| (name, &self.newest)))
    }
}

/// Those that can be resumed, numbered, with their names; empty if there are none.
impl Stateful for ByHand {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        let names: Vec<&str> = self.named().map(|(name, _)| &**name).collect();
        if names.is_empty() {
            return Ok(dict);
        }
        let lengths: Vec<u64> = names.iter().map(|name| name.len() as u64).collect();
        dict.insert("names", Array::from_text(&names.concat()))?;
        dict.insert("lengths", Array::from_slice(&lengths))?;
        for (n, (_, pass)) in self.named().enumerate() {
            dict.insert_all(&n.to_string(), pass.state_dict()?)?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let mut loaded = ByHand::default();
        // Older checkpoints have no names.
        if dict.contains("names") {
            let text = dict.array("names")?.to_text()?;
            let mut rest = &*text;
            for (n, length) in dict.array("lengths")?.to_vec::<u64>()?.into_iter().enumerate() {
                let cut = rest.split_at_checked(length as usize);
                let (name, after) = cut.ok_or("the name of a pass is cut off")?;
                rest = after;
                let mut pass = PhaseState::default();
                pass.load_state_dict(&dict.under(&n.to_string()))?;
                loaded.named.insert(name.to_owned(), pass);
            }
        }
        *self = loaded;
        Ok(())
    }
}
