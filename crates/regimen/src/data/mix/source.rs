//! The sources of a mix while they are read: how far each is, and which are exhausted.

use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::data::{At, DynData, Epoch, Fetched, Position, Rank};
use regimen_core::random::keyed;
use regimen_core::text::Count;

use super::Stopping;
use super::length::Length;
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

    fn fault(&self, error: &BoxError) -> BoxError {
        format!("source `{}`: {error}", self.name).into()
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
    /// The epoch, seed and rank that the mix was asked for.
    epoch: u64,
    seed: u64,
    rank: Rank,
    place: Place,
    open: Option<Box<dyn Epoch<Batch = B> + 'a>>,
}

/// How far a source is.
#[derive(Clone, Debug, Default)]
struct Place {
    /// How often it began anew.
    pass: u64,
    /// Batches given in this pass, and the position after the last of them.
    given: u64,
    position: Option<Position>,
    /// It was exhausted at least once.
    exhausted: bool,
    /// It has no batch at all.
    empty: bool,
}

/// What follows from a source being exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// The epoch ends.
    Stop,
    /// The source is passed over, or begins anew.
    GoOn,
}

/// The sources at the beginning of the epoch that `at` names.
pub(crate) fn opened<'a, B>(
    sources: &'a [Source<B>],
    at: At<'_>,
    stopping: Stopping,
    allow_empty: bool,
) -> Result<Sources<'a, B>, BoxError> {
    for (place, source) in sources.iter().enumerate() {
        if sources[..place].iter().any(|other| other.name == source.name) {
            return Err(format!("two sources are called `{}`", source.name).into());
        }
    }
    let running = sources.iter().map(|source| Running {
        source,
        epoch: at.epoch,
        // Two sources of one length must not be shuffled alike.
        seed: keyed(at.seed, &source.name, 0, 0),
        rank: at.rank,
        place: Place::default(),
        open: None,
    });
    Ok(Sources { running: running.collect(), stopping, allow_empty })
}

impl<B> Sources<'_, B> {
    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn name(&self, place: usize) -> &Arc<str> {
        &self.running[place].source.name
    }

    pub(crate) fn weight(&self, place: usize) -> f64 {
        self.running[place].source.weight
    }

    /// Whether a source may be asked for a batch.
    pub(crate) fn in_play(&self, place: usize) -> bool {
        let place = &self.running[place].place;
        let over = place.exhausted && self.stopping == Stopping::AllExhausted;
        !place.empty && !over
    }

    /// The next batch of a source; none when it is exhausted, and asked again it begins anew.
    pub(crate) fn next(&mut self, place: usize) -> Result<Option<Fetched<B>>, BoxError> {
        let allow_empty = self.allow_empty;
        let running = &mut self.running[place];
        running.next(allow_empty).map_err(|error| running.source.fault(&error))
    }

    /// Decides what follows when [`next`](Self::next) gave nothing.
    pub(crate) fn exhausted(&self, place: usize) -> Exhausted {
        let all = || self.running.iter().all(|running| running.place.exhausted);
        match self.stopping {
            _ if self.running[place].place.empty => Exhausted::GoOn,
            Stopping::SmallestExhausted => Exhausted::Stop,
            Stopping::RestartUntilAllExhausted if all() => Exhausted::Stop,
            _ => Exhausted::GoOn,
        }
    }

    pub(crate) fn save(&self, encoder: Encoder) -> Encoder {
        self.running.iter().fold(encoder.number(self.running.len() as u64), |encoder, running| {
            let Place { pass, given, position, exhausted, empty } = &running.place;
            let encoder = encoder.bytes(running.source.name.as_bytes()).number(*pass).number(*given);
            let encoder = encoder.number(u64::from(*exhausted)).number(u64::from(*empty));
            match position {
                None => encoder.number(0),
                Some(position) => encoder.number(1).position(position),
            }
        })
    }

    /// Fails where the sources are not those that were saved.
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
            running.place = Place {
                pass: saved.number()?,
                given: saved.number()?,
                exhausted: saved.number()? == 1,
                empty: saved.number()? == 1,
                position: if saved.number()? == 1 { Some(saved.position()?) } else { None },
            };
            // Those in the middle are opened now, to say how many batches they have left.
            if running.place.given > 0 {
                let source = running.source;
                running.open().map_err(|error| source.fault(&error))?;
            }
        }
        Ok(())
    }

    /// How far each source is; none where some length is not known.
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
    /// The epoch under way, begun or continued where it was not yet.
    fn open(&mut self) -> Result<&mut Box<dyn Epoch<Batch = B> + 'a>, BoxError> {
        let epoch = match self.open.take() {
            Some(epoch) => epoch,
            None => {
                // Another epoch number for every pass: the first keeps the run's.
                let number = self.epoch.wrapping_add(self.place.pass << 32);
                let mut at = At::epoch(number, self.seed).skip(self.place.given).rank(self.rank);
                at.position = self.place.position.as_ref();
                self.source.data.dyn_epoch(at)?
            }
        };
        Ok(self.open.insert(epoch))
    }

    fn length(&self) -> Option<Length> {
        let whole = self.source.data.dyn_batches()?;
        let left = match self.open.as_ref().and_then(|epoch| epoch.batches_left()) {
            Some(left) => left,
            None => whole.saturating_sub(self.place.given),
        };
        Some(Length { whole, left, exhausted: self.place.exhausted })
    }

    fn next(&mut self, allow_empty: bool) -> Result<Option<Fetched<B>>, BoxError> {
        if let Some(fetched) = self.open()?.next().transpose()? {
            self.place.given += 1;
            self.place.position.clone_from(&fetched.position);
            return Ok(Some(fetched));
        }
        let empty = self.place.given == 0;
        if empty && !allow_empty {
            return Err("it has no batch".into());
        }
        self.open = None;
        self.place = Place { pass: self.place.pass + 1, exhausted: true, empty, ..Place::default() };
        Ok(None)
    }
}
