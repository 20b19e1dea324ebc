//! The sources of a mix while they are read: the progress of each, and which are exhausted.

use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::data::{At, DynData, Epoch, Fetched, Position, Rank};
use regimen_core::error::WithCauses;
use regimen_core::random::keyed;
use regimen_core::text::Count;

use super::length::Length;
use super::stopping::Stopping;
use crate::data::position::{Decoder, Encoder};

/// A named source.
pub(crate) struct Source<B> {
    pub(crate) name: Arc<str>,
    pub(crate) weight: f64,
    pub(crate) data: Box<dyn DynData<B> + Send + Sync>,
}

impl<B> Source<B> {
    /// The length of a source that was not begun.
    pub(crate) fn length(&self) -> Option<Length> {
        let whole = self.data.dyn_batches()?;
        Some(Length { whole, left: whole, exhausted: false })
    }

    fn fault(&self, error: BoxError) -> BoxError {
        format!("source `{}`: {}", self.name, WithCauses(&*error)).into()
    }
}

/// All sources in one epoch.
pub(crate) struct Sources<'a, B> {
    running: Vec<Running<'a, B>>,
    stopping: Stopping,
    allow_empty: bool,
}

struct Running<'a, B> {
    source: &'a Source<B>,
    /// The epoch, seed and rank of the mix.
    epoch: u64,
    seed: u64,
    rank: Rank,
    progress: SourceProgress,
    open: Option<Box<dyn Epoch<Batch = B> + 'a>>,
}

/// The progress of a source.
#[derive(Clone, Debug, Default)]
struct SourceProgress {
    /// How often it started over.
    pass: u64,
    /// Batches given in this pass, and the position after the last of them.
    given: u64,
    position: Option<Position>,
    /// It was exhausted at least once.
    exhausted: bool,
    /// It has no batch at all.
    empty: bool,
}

/// The consequence of an exhausted source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// The epoch ends.
    Stop,
    /// The source is passed over, or starts over.
    GoOn,
}

/// The sources at the beginning of the epoch that `at` names.
pub(crate) fn opened<'a, B>(
    sources: &'a [Source<B>],
    at: &At,
    stopping: Stopping,
    allow_empty: bool,
) -> Result<Sources<'a, B>, BoxError> {
    for (index, source) in sources.iter().enumerate() {
        if sources[..index].iter().any(|other| other.name == source.name) {
            return Err(format!("two sources are called `{}`", source.name).into());
        }
    }
    let running = sources.iter().map(|source| Running {
        source,
        epoch: at.epoch,
        // Two sources of one length must not be shuffled alike.
        seed: keyed(at.seed, &source.name, 0, 0),
        rank: at.rank,
        progress: SourceProgress::default(),
        open: None,
    });
    Ok(Sources { running: running.collect(), stopping, allow_empty })
}

impl<B> Sources<'_, B> {
    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn name(&self, index: usize) -> &Arc<str> {
        &self.running[index].source.name
    }

    pub(crate) fn weight(&self, index: usize) -> f64 {
        self.running[index].source.weight
    }

    /// Whether a source may give a batch.
    pub(crate) fn in_play(&self, index: usize) -> bool {
        let progress = &self.running[index].progress;
        let over = progress.exhausted && self.stopping == Stopping::AllExhausted;
        !progress.empty && !over
    }

    /// The next batch of a source. Returns `None` if it is exhausted; the next call starts it over.
    pub(crate) fn next(&mut self, index: usize) -> Result<Option<Fetched<B>>, BoxError> {
        let allow_empty = self.allow_empty;
        let running = &mut self.running[index];
        running.next(allow_empty).map_err(|error| running.source.fault(error))
    }

    /// The consequence of a [`next`](Self::next) that gave nothing.
    pub(crate) fn exhausted(&self, index: usize) -> Exhausted {
        let all = || self.running.iter().all(|running| running.progress.exhausted);
        match self.stopping {
            _ if self.running[index].progress.empty => Exhausted::GoOn,
            Stopping::SmallestExhausted => Exhausted::Stop,
            Stopping::RestartUntilAllExhausted if all() => Exhausted::Stop,
            _ => Exhausted::GoOn,
        }
    }

    pub(crate) fn save(&self, encoder: Encoder) -> Encoder {
        self.running.iter().fold(encoder.number(self.running.len() as u64), |encoder, running| {
            let SourceProgress { pass, given, position, exhausted, empty } = &running.progress;
            let encoder = encoder.bytes(running.source.name.as_bytes()).number(*pass).number(*given);
            let encoder = encoder.number(u64::from(*exhausted)).number(u64::from(*empty));
            match position {
                None => encoder.number(0),
                Some(position) => encoder.number(1).position(position),
            }
        })
    }

    /// Fails if the sources are not those that were saved.
    pub(crate) fn restore(&mut self, saved: &mut Decoder<'_>) -> Result<(), BoxError> {
        let count = saved.number()?;
        if count != self.running.len() as u64 {
            return Err(
                format!("the position is of {}, not {}", Count(count, "source"), self.running.len()).into()
            );
        }
        for running in &mut self.running {
            let name = String::from_utf8_lossy(saved.bytes()?);
            if *name != *running.source.name {
                return Err(
                    format!("the position is of source `{name}`, not `{}`", running.source.name).into()
                );
            }
            running.progress = SourceProgress {
                pass: saved.number()?,
                given: saved.number()?,
                exhausted: saved.number()? == 1,
                empty: saved.number()? == 1,
                position: if saved.number()? == 1 { Some(saved.position()?) } else { None },
            };
            // Those in the middle are opened now, to say how many batches they have left.
            if running.progress.given > 0 {
                let source = running.source;
                running.open().map_err(|error| source.fault(error))?;
            }
        }
        Ok(())
    }

    /// The length of each source. Returns `None` if one is not known.
    pub(crate) fn lengths(&self) -> Option<Vec<Length>> {
        self.running.iter().map(Running::length).collect()
    }

    pub(crate) fn notice(&mut self) -> Option<String> {
        self.running.iter_mut().find_map(|running| {
            let notice = running.open.as_mut()?.notice()?;
            Some(format!("source `{}`: {notice}", running.source.name))
        })
    }
}

impl<'a, B> Running<'a, B> {
    /// The epoch under way, which is begun or continued if need be.
    fn open(&mut self) -> Result<&mut Box<dyn Epoch<Batch = B> + 'a>, BoxError> {
        let epoch = match self.open.take() {
            Some(epoch) => epoch,
            None => {
                // Another epoch number for every pass: the first keeps the run's.
                let number = self.epoch.wrapping_add(self.progress.pass << 32);
                let mut at = At::epoch(number, self.seed).skip(self.progress.given).rank(self.rank);
                at.position.clone_from(&self.progress.position);
                self.source.data.dyn_epoch(at)?
            }
        };
        Ok(self.open.insert(epoch))
    }

    fn length(&self) -> Option<Length> {
        let whole = self.source.data.dyn_batches()?;
        let left = match self.open.as_ref().and_then(|epoch| epoch.batches_left()) {
            Some(left) => left,
            None => whole.saturating_sub(self.progress.given),
        };
        Some(Length { whole, left, exhausted: self.progress.exhausted })
    }

    fn next(&mut self, allow_empty: bool) -> Result<Option<Fetched<B>>, BoxError> {
        if let Some(fetched) = self.open()?.next().transpose()? {
            self.progress.given += 1;
            self.progress.position.clone_from(&fetched.position);
            return Ok(Some(fetched));
        }
        let empty = self.progress.given == 0;
        if empty && !allow_empty {
            return Err("it has no batch".into());
        }
        self.open = None;
        self.progress = SourceProgress {
            pass: self.progress.pass + 1,
            exhausted: true,
            empty,
            ..SourceProgress::default()
        };
        Ok(None)
    }
}
