//! How one batch is made: the same on a worker and on the thread of the loop.

use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::data::{Fetched, Rank};
use regimen_core::random::{Random, keyed};

use super::collate::Collator;
use super::sampler::Order;
use super::shard::Shard;
use super::transform::Samples;
use super::worker::Desk;
use crate::data::dataset::beyond;
use crate::data::fault::{SampleError, catch};

/// Everything that decides what the batches of one epoch are.
pub(crate) struct Plan<S, C> {
    /// The name of the dataset.
    pub(crate) dataset: String,
    pub(crate) samples: Arc<S>,
    pub(crate) collator: Arc<C>,
    /// How many samples the dataset has.
    pub(crate) len: usize,
    pub(crate) order: Order,
    pub(crate) shard: Shard,
    pub(crate) rank: Rank,
    pub(crate) seed: u64,
    pub(crate) epoch: u64,
    pub(crate) skip_bad_samples: bool,
}

/// A batch, or why there is none, and the samples passed over on the way.
pub(crate) struct Made<B> {
    pub(crate) result: Result<Fetched<B>, BoxError>,
    pub(crate) skipped: Vec<SampleError>,
}

/// A [`Plan`] of which only the batches are known.
pub(crate) trait Assemble<B>: Send + Sync {
    /// Makes batch `number`; none when told to stop on the way.
    fn assemble(&self, number: u64, desk: &Desk) -> Option<Made<B>>;
}

impl<S: Samples, C: Collator<S::Item>> Assemble<C::Batch> for Plan<S, C> {
    fn assemble(&self, number: u64, desk: &Desk) -> Option<Made<C::Batch>> {
        let mut skipped = Vec::new();
        // No panic leaves a batch, not even that of a sample which is dropped: a worker would end
        // without a word of it.
        let result = catch(|| Ok(self.batch(number, desk, &mut skipped)))
            .unwrap_or_else(|error| Err(self.lost(number, error)))
            .transpose()?;
        Some(Made { result, skipped })
    }
}

/// Why a sample is not in its batch.
enum Refused {
    /// It could not be had: the batch can do without it.
    Bad(SampleError),
    /// The batch is lost: the sample does not fit and which one is odd cannot be known, or it is
    /// not known which sample was meant.
    Lost(BoxError),
}

impl Refused {
    fn into_error(self) -> BoxError {
        match self {
            Refused::Bad(error) => error.into(),
            Refused::Lost(error) => error,
        }
    }
}

impl<S: Samples, C: Collator<S::Item>> Plan<S, C> {
    fn batch(
        &self,
        number: u64,
        desk: &Desk,
        skipped: &mut Vec<SampleError>,
    ) -> Result<Option<Fetched<C::Batch>>, BoxError> {
        let share = self.shard.share(number);
        let mut partial = catch(|| Ok(self.collator.begin(share.size as usize)))
            .map_err(|error| self.lost(number, error))?;
        let mut count = 0;
        let mut filler = share.padding;
        let given = share.positions.end - share.positions.start;
        for position in share.positions {
            if desk.stopped() {
                return Ok(None);
            }
            match self.add(position, &mut partial, desk) {
                Ok(()) => {
                    if count == 0 {
                        filler = position;
                    }
                    count += 1;
                }
                Err(Refused::Bad(error)) if self.skip_bad_samples => skipped.push(error),
                Err(refused) => return Err(refused.into_error()),
            }
        }
        if count == 0 && given > 0 {
            return Err(self.lost(number, "none of its samples could be had".into()));
        }
        if self.shard.pads() {
            for _ in count..share.size {
                self.add(filler, &mut partial, desk).map_err(Refused::into_error)?;
            }
        }
        let key = keyed(self.seed, "batch", self.epoch, number * self.rank.count + self.rank.index);
        let batch = catch(|| self.collator.finish(partial, count as usize, &mut Random::new(key)))
            .map_err(|error| self.lost(number, error))?;
        let position = Some(self.shard.consumed(number).position());
        Ok(Some(Fetched { position, ..Fetched::new(batch, count) }))
    }

    /// Puts the sample at `position` into the batch.
    fn add(&self, position: u64, partial: &mut C::Partial, desk: &Desk) -> Result<(), Refused> {
        let index = catch(|| Ok(self.order.index(position))).map_err(|error| {
            let dataset = &self.dataset;
            Refused::Lost(format!("dataset `{dataset}`: its sampler at position {position}: {error}").into())
        })?;
        desk.take_up(index);
        let mut random = Random::new(keyed(self.seed, "sample", self.epoch, self.order.key(position, index)));
        let mut fits = true;
        catch(|| {
            if index >= self.len {
                return Err(beyond(self.len));
            }
            let sample = self.samples.draw(index, &mut random)?;
            // A panic in `push` may leave the batch half changed.
            fits = false;
            self.collator.push(partial, sample, &mut random)
        })
        .map_err(|error| {
            let error = SampleError::new(self.dataset.as_str(), index, error);
            if fits { Refused::Bad(error) } else { Refused::Lost(error.into()) }
        })
    }

    fn lost(&self, number: u64, error: BoxError) -> BoxError {
        format!("dataset `{}` batch {number}: {error}", self.dataset).into()
    }
}
