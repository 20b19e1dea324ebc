//! The loader of a stream.

use std::borrow::Cow;
use std::collections::VecDeque;

use regimen_core::BoxError;
use regimen_core::data::{At, Data, Epoch, Fetched, Rank};
use regimen_core::error::WithCauses;
use regimen_core::random::{Random, keyed};
use regimen_core::text::Count;

use super::{Stream, StreamAt, StreamReader};
use crate::data::consumed::Streamed;
use crate::data::fault::{FAILURES_IN_A_ROW, catch};
use crate::data::loader::collate::{Collate, CollateInto, CollateWith, Collator, Stack};
use crate::data::loader::shard::cut;

/// Batches of a stream: [`Data`] for a run. The position after it travels with each batch.
///
/// Batches are made on the thread that asks for them;
/// [`read_ahead`](crate::data::DataExt::read_ahead) makes them on another. A stream cannot skip,
/// so each of several ranks reads all of it and keeps its share of every batch.
///
/// ```no_run
/// use regimen::data::{Lines, Stream, StreamLoader};
/// let numbers = Lines::new("numbers.txt").try_map(|line| Ok(line.parse::<f32>()?)).shuffle(10_000);
/// let loader = StreamLoader::new(numbers).batch_size(64);
/// ```
pub struct StreamLoader<B> {
    batches: Box<dyn Batches<B>>,
    settings: Settings,
}

#[derive(Debug)]
struct Settings {
    batch_size: usize,
    drop_last: bool,
    skip_bad_samples: bool,
    seed: Option<u64>,
}

impl<B> StreamLoader<B> {
    /// Batches of one sample of `stream`. [`Collate`](crate::data::Collate) says which batch
    /// samples make.
    pub fn new<S>(stream: S) -> Self
    where
        S: Stream + 'static,
        S::Item: Collate<Batch = B>,
    {
        StreamLoader::collated(stream, Stack)
    }

    /// Batches by `f`, which is given all samples of a batch.
    pub fn collate<S, F>(stream: S, f: F) -> Self
    where
        S: Stream + 'static,
        F: Fn(Vec<S::Item>) -> Result<B, BoxError> + Send + Sync + 'static,
    {
        StreamLoader::collated(stream, CollateWith(f))
    }

    /// Batches to which samples are added one by one: see
    /// [`Loader::collate_into`](crate::data::Loader::collate_into).
    pub fn collate_into<S, N, F>(stream: S, begin: N, add: F) -> Self
    where
        S: Stream + 'static,
        N: Fn(usize) -> B + Send + Sync + 'static,
        F: Fn(&mut B, S::Item, &mut Random) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        StreamLoader::collated(stream, CollateInto { begin, add })
    }

    fn collated<S, C>(stream: S, collator: C) -> Self
    where
        S: Stream + 'static,
        C: Collator<S::Item, Batch = B> + 'static,
    {
        let settings = Settings { batch_size: 1, drop_last: false, skip_bad_samples: false, seed: None };
        StreamLoader { batches: Box::new(Assembly { stream, collator }), settings }
    }

    /// Samples per batch, summed over all ranks. Zero is an error of the first epoch. A run can
    /// continue with another size: inside an epoch at the same sample, with a notice.
    pub fn batch_size(mut self, samples: usize) -> Self {
        self.settings.batch_size = samples;
        self
    }

    /// Leaves out a last batch that is smaller than the others.
    pub fn drop_last(mut self) -> Self {
        self.settings.drop_last = true;
        self
    }

    /// Passes over samples that cannot be read, with a notice of the run for each; the samples
    /// after them take their places. By default they are errors, and so are 1000 in a row.
    pub fn skip_bad_samples(mut self) -> Self {
        self.settings.skip_bad_samples = true;
        self
    }

    /// The seed of this loader. Default: the run's.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }
}

impl<B> Data for StreamLoader<B> {
    type Batch = B;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = B>, BoxError> {
        self.batches.epoch(&self.settings, at)
    }
}

impl<B> std::fmt::Debug for StreamLoader<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamLoader")
            .field("stream", &self.batches.name())
            .field("settings", &self.settings)
            .finish()
    }
}

/// A stream and a collator of which only the batches are known: one virtual call per batch.
trait Batches<B>: Send + Sync {
    fn name(&self) -> Cow<'_, str>;

    fn epoch<'a>(
        &'a self,
        settings: &'a Settings,
        at: At,
    ) -> Result<Box<dyn Epoch<Batch = B> + 'a>, BoxError>;
}

struct Assembly<S, C> {
    stream: S,
    collator: C,
}

impl<S: Stream, C: Collator<S::Item>> Batches<C::Batch> for Assembly<S, C> {
    fn name(&self) -> Cow<'_, str> {
        self.stream.name()
    }

    fn epoch<'a>(
        &'a self,
        settings: &'a Settings,
        at: At,
    ) -> Result<Box<dyn Epoch<Batch = C::Batch> + 'a>, BoxError> {
        if settings.batch_size == 0 {
            return Err(format!("stream `{}`: a batch size of 0 cannot be used", self.stream.name()).into());
        }
        let seed = keyed(settings.seed.unwrap_or(at.seed), "stream", 0, 0);
        let size = settings.batch_size as u64;
        let streamed = Streamed::at(&at, size).map_err(|error| self.fault(at.skip, error))?;
        let position = streamed.as_ref().map(|streamed| streamed.reader.clone());
        let start = StreamAt { epoch: at.epoch, seed, position };
        let reader = catch(|| self.stream.open(start)).map_err(|error| self.fault(at.skip, error))?;
        let mut epoch = StreamEpoch {
            assembly: self,
            settings,
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
            return Ok(Box::new(epoch));
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
        Ok(Box::new(epoch))
    }
}

impl<S: Stream, C> Assembly<S, C> {
    fn fault(&self, number: u64, error: BoxError) -> BoxError {
        format!("stream `{}` batch {number}: {}", self.stream.name(), WithCauses(&*error)).into()
    }
}

/// One epoch of a [`StreamLoader`].
struct StreamEpoch<'a, S, C, R> {
    assembly: &'a Assembly<S, C>,
    settings: &'a Settings,
    reader: R,
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

impl<S, C, R> StreamEpoch<'_, S, C, R>
where
    S: Stream,
    C: Collator<S::Item>,
    R: StreamReader<Item = S::Item>,
{
    /// The samples of the next batch of all ranks; empty at the end.
    fn gather(&mut self) -> Result<Vec<S::Item>, BoxError> {
        let size = self.settings.batch_size;
        let mut samples = Vec::with_capacity(size.min(1 << 16));
        let mut failures = 0;
        while samples.len() < size {
            match catch(|| self.reader.next().transpose()) {
                Ok(Some(sample)) => {
                    samples.push(sample);
                    failures = 0;
                }
                Ok(None) if self.settings.drop_last => return Ok(Vec::new()),
                Ok(None) => break,
                Err(error) if self.settings.skip_bad_samples && failures < FAILURES_IN_A_ROW => {
                    failures += 1;
                    self.skipped += 1;
                    let error = self.assembly.fault(self.number, error);
                    self.notices
                        .push_back(format!("skipped (number {} of this epoch): {error}", self.skipped));
                }
                Err(error) => return Err(self.assembly.fault(self.number, error)),
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
            return Err(self.assembly.fault(self.number, what.into()));
        }
        let share = samples.into_iter().skip(start as usize).take((end - start) as usize);
        let random = |number| Random::new(keyed(self.seed, "push", self.epoch, number));
        let collator = &self.assembly.collator;
        let first = before + start;
        let made = catch(|| {
            let mut partial = collator.begin((end - start) as usize);
            for (number, sample) in (first..).zip(share) {
                collator.add(&mut partial, sample, &mut random(number))?;
            }
            let batch = collator.finish(partial)?;
            let (batch_size, reader) = (self.settings.batch_size as u64, self.reader.position());
            let streamed = Streamed { samples: self.samples, batch: batch_size, reader };
            Ok(Fetched { position: Some(streamed.position()), ..Fetched::new(batch, end - start) })
        });
        made.map_err(|error| self.assembly.fault(self.number, error))
    }
}

impl<S, C, R> Epoch for StreamEpoch<'_, S, C, R>
where
    S: Stream,
    C: Collator<S::Item>,
    R: StreamReader<Item = S::Item>,
{
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
