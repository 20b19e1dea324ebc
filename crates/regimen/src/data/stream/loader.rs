//! Batches of a stream.

use std::collections::VecDeque;

use regimen_core::BoxError;
use regimen_core::data::{At, Data, Epoch, Fetched, Rank};
use regimen_core::random::{Random, keyed};
use regimen_core::text::Count;

use super::{FAILURES_IN_A_ROW, Reader, Stream, StreamAt};
use crate::data::consumed::Streamed;
use crate::data::fault::catch;
use crate::data::loader::collate::{CollateInto, CollateWith, Collator, Stack};
use crate::data::loader::shard::cut;

/// Batches of a stream: [`Data`] for a run. The position after it travels with each batch.
///
/// Batches are made on the thread that asks for them; [`prefetched`](crate::data::prefetched) makes
/// them on another. A stream cannot skip, so each of several ranks reads all of it and keeps its
/// share of every batch.
///
/// ```no_run
/// use regimen::data::{Lines, Stream, StreamLoader};
/// let numbers = Lines::new("numbers.txt").try_map(|line| Ok(line.parse::<f32>()?)).shuffle(10_000);
/// let loader = StreamLoader::new(numbers).batch_size(64);
/// ```
#[derive(Debug)]
pub struct StreamLoader<S, C = Stack> {
    stream: S,
    collator: C,
    batch_size: usize,
    drop_last: bool,
    skip_bad_samples: bool,
    seed: Option<u64>,
}

impl<S: Stream> StreamLoader<S> {
    /// Batches of one sample of `stream`.
    pub fn new(stream: S) -> Self {
        StreamLoader {
            stream,
            collator: Stack,
            batch_size: 1,
            drop_last: false,
            skip_bad_samples: false,
            seed: None,
        }
    }
}

impl<S: Stream, C> StreamLoader<S, C> {
    /// Samples a batch, over all ranks together. Zero is an error of the first epoch. A run can go
    /// on with another size, inside an epoch at the same sample, of which a notice tells.
    pub fn batch_size(self, samples: usize) -> Self {
        StreamLoader { batch_size: samples, ..self }
    }

    /// Leaves out a last batch that is smaller than the others.
    pub fn drop_last(self) -> Self {
        StreamLoader { drop_last: true, ..self }
    }

    /// Passes over samples that cannot be had, with a notice of the run for each; what comes
    /// after takes their place. By default they are errors, and so are 1000 in a row.
    pub fn skip_bad_samples(self) -> Self {
        StreamLoader { skip_bad_samples: true, ..self }
    }

    /// The seed of this loader, whatever the run's.
    pub fn seed(self, seed: u64) -> Self {
        StreamLoader { seed: Some(seed), ..self }
    }

    /// Makes batches by `f`, of all samples of one. By default [`Collate`](crate::data::Collate) says how.
    pub fn collate<B, F>(self, f: F) -> StreamLoader<S, CollateWith<F>>
    where
        F: Fn(Vec<S::Item>) -> Result<B, BoxError> + Send + Sync,
    {
        self.collated(CollateWith(f))
    }

    /// Makes batches by writing each sample to its place: see
    /// [`Loader::collate_into`](crate::data::Loader::collate_into).
    pub fn collate_into<B, N, F>(self, begin: N, push: F) -> StreamLoader<S, CollateInto<N, F>>
    where
        N: Fn(usize) -> B + Send + Sync,
        F: Fn(&mut B, S::Item, &mut Random) -> Result<(), BoxError> + Send + Sync,
    {
        self.collated(CollateInto { begin, push })
    }

    fn collated<N>(self, collator: N) -> StreamLoader<S, N> {
        let StreamLoader { stream, batch_size, drop_last, skip_bad_samples, seed, .. } = self;
        StreamLoader { stream, collator, batch_size, drop_last, skip_bad_samples, seed }
    }
}

impl<S: Stream, C: Collator<S::Item>> Data for StreamLoader<S, C> {
    type Batch = C::Batch;
    type Epoch<'a>
        = StreamEpoch<'a, S, C>
    where
        Self: 'a;

    fn epoch(&self, at: At<'_>) -> Result<Self::Epoch<'_>, BoxError> {
        if self.batch_size == 0 {
            return Err(format!("stream `{}`: a batch size of 0 cannot be used", self.stream.name()).into());
        }
        let seed = keyed(self.seed.unwrap_or(at.seed), "stream", 0, 0);
        let size = self.batch_size as u64;
        let streamed = Streamed::at(at, size).map_err(|error| self.fault(at.skip, error))?;
        let position = streamed.as_ref().map(|streamed| &streamed.reader);
        let from = StreamAt { epoch: at.epoch, seed, position };
        let reader = catch(|| self.stream.open(from)).map_err(|error| self.fault(at.skip, error))?;
        let mut epoch = StreamEpoch {
            loader: self,
            reader,
            rank: at.rank,
            seed,
            epoch: at.epoch,
            number: 0,
            samples: 0,
            skipped: 0,
            notices: VecDeque::new(),
        };
        if let Some(streamed) = streamed {
            (epoch.number, epoch.samples) = (at.skip, streamed.samples);
            let notice = streamed.notice(size);
            epoch.notices.extend(notice.map(|notice| format!("stream `{}`: {notice}", self.stream.name())));
            return Ok(epoch);
        }
        while epoch.number < at.skip {
            let samples = epoch.gather()?.len();
            if samples == 0 {
                let (consumed, found) = (at.skip, epoch.number);
                let what = format!("of an epoch that has {} {consumed} were consumed", Count(found, "batch"));
                return Err(self.fault(found, what.into()));
            }
            epoch.number += 1;
            epoch.samples += samples as u64;
        }
        epoch.notices.clear();
        Ok(epoch)
    }
}

impl<S: Stream, C> StreamLoader<S, C> {
    fn fault(&self, number: u64, error: BoxError) -> BoxError {
        format!("stream `{}` batch {number}: {error}", self.stream.name()).into()
    }
}

/// One epoch of a [`StreamLoader`].
pub struct StreamEpoch<'a, S: Stream + 'a, C> {
    loader: &'a StreamLoader<S, C>,
    reader: S::Reader<'a>,
    rank: Rank,
    seed: u64,
    epoch: u64,
    /// Batches given in the epoch.
    number: u64,
    /// Samples in them, those of all ranks.
    samples: u64,
    skipped: u64,
    notices: VecDeque<String>,
}

impl<S: Stream, C: Collator<S::Item>> StreamEpoch<'_, S, C> {
    /// The samples of the next batch of all ranks; none of them at the end.
    fn gather(&mut self) -> Result<Vec<S::Item>, BoxError> {
        let size = self.loader.batch_size;
        let mut samples = Vec::with_capacity(size.min(1 << 16));
        let mut failures = 0;
        while samples.len() < size {
            match catch(|| self.reader.next().transpose()) {
                Ok(Some(sample)) => {
                    samples.push(sample);
                    failures = 0;
                }
                Ok(None) if self.loader.drop_last => return Ok(Vec::new()),
                Ok(None) => break,
                Err(error) if self.loader.skip_bad_samples && failures < FAILURES_IN_A_ROW => {
                    failures += 1;
                    self.skipped += 1;
                    let error = self.loader.fault(self.number, error);
                    self.notices
                        .push_back(format!("skipped (number {} of this epoch): {error}", self.skipped));
                }
                Err(error) => return Err(self.loader.fault(self.number, error)),
            }
        }
        Ok(samples)
    }

    /// A batch of this rank's share of `samples`.
    fn batch(&mut self, samples: Vec<S::Item>) -> Result<Fetched<C::Batch>, BoxError> {
        let whole = samples.len() as u64;
        let before = self.samples;
        self.samples += whole;
        let Rank { index, count } = self.rank;
        let (start, end) = (cut(whole, index, count), cut(whole, index + 1, count));
        if whole < count {
            let what = format!(
                "{} for {count} ranks leave some without any; use `drop_last`",
                Count(whole, "sample")
            );
            return Err(self.loader.fault(self.number, what.into()));
        }
        let share = samples.into_iter().skip(start as usize).take((end - start) as usize);
        let random = |stream, index| Random::new(keyed(self.seed, stream, self.epoch, index));
        let collator = &self.loader.collator;
        let first = before + start;
        let made = catch(|| {
            let mut partial = collator.begin((end - start) as usize);
            for (number, sample) in (first..).zip(share) {
                collator.push(&mut partial, sample, &mut random("push", number))?;
            }
            let mut random = random("batch", self.number * count + index);
            let batch = collator.finish(partial, (end - start) as usize, &mut random)?;
            let (batch_size, reader) = (self.loader.batch_size as u64, self.reader.position());
            let streamed = Streamed { samples: self.samples, batch: batch_size, reader };
            Ok(Fetched { position: Some(streamed.position()), ..Fetched::new(batch, end - start) })
        });
        made.map_err(|error| self.loader.fault(self.number, error))
    }
}

impl<S: Stream, C: Collator<S::Item>> Epoch for StreamEpoch<'_, S, C> {
    type Batch = C::Batch;

    fn next(&mut self) -> Option<Result<Fetched<C::Batch>, BoxError>> {
        let samples = match self.gather() {
            Ok(samples) if samples.is_empty() => return None,
            Ok(samples) => samples,
            Err(error) => return Some(Err(error)),
        };
        let batch = self.batch(samples);
        self.number += 1;
        Some(batch)
    }

    fn notice(&mut self) -> Option<String> {
        self.notices.pop_front()
    }
}

impl<S: Stream, C> std::fmt::Debug for StreamEpoch<'_, S, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamEpoch").field("number", &self.number).finish_non_exhaustive()
    }
}
