//! Streams: samples that can only be read in sequence, with a position after each.

mod lines;
mod loader;
mod map;
mod shuffle;

pub use lines::Lines;
pub use loader::StreamLoader;

use std::borrow::Cow;
use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::data::Position;
use regimen_core::random::Random;

use self::map::{MapStream, TransformStream};
use self::shuffle::ShuffleStream;
use super::position::{Decoder, Encoder};

/// Samples that can only be read in sequence: text, archives, sockets.
///
/// An `Arc` of a stream is a stream. A [`StreamLoader`](super::StreamLoader) makes batches of it.
/// The position travels with each batch, so a run goes on after the last batch it used, not after
/// the last one that was read.
pub trait Stream: Send + Sync {
    /// One sample.
    type Item;

    /// Begins an epoch, or goes on inside it.
    fn open(&self, at: StreamAt) -> Result<impl StreamReader<Item = Self::Item>, BoxError>;

    /// Its name in errors.
    fn name(&self) -> Cow<'_, str> {
        "stream".into()
    }

    /// The same samples, each changed by `f`, which may fail.
    fn try_map<T, F>(self, f: F) -> impl Stream<Item = T>
    where
        F: Fn(Self::Item) -> Result<T, BoxError> + Send + Sync,
        Self: Sized,
    {
        MapStream { stream: self, f }
    }

    /// The same samples, each changed by `f` with a generator keyed by (seed, epoch, number of the
    /// sample in the epoch).
    fn transform<T, F>(self, f: F) -> impl Stream<Item = T>
    where
        F: Fn(Self::Item, &mut Random) -> T + Send + Sync,
        Self: Sized,
    {
        TransformStream { stream: self, f }
    }

    /// Shuffles within blocks of `buffer` samples, which are in memory together.
    ///
    /// The blocks begin elsewhere in every epoch. A sample moves by less than `buffer`
    /// places, so a stream that is sorted needs a buffer of many times its runs, or to be
    /// shuffled on disk. Zero is taken as one, which changes nothing.
    fn shuffle(self, buffer: usize) -> impl Stream<Item = Self::Item>
    where
        Self: Sized,
    {
        ShuffleStream::new(self, buffer)
    }
}

impl<S: Stream + ?Sized> Stream for Arc<S> {
    type Item = S::Item;

    fn open(&self, at: StreamAt) -> Result<impl StreamReader<Item = S::Item>, BoxError> {
        (**self).open(at)
    }

    fn name(&self) -> Cow<'_, str> {
        (**self).name()
    }
}

/// The epoch of a stream to read, and the position to begin at.
#[derive(Clone, Debug)]
pub struct StreamAt {
    /// Completed epochs: 0 for the first.
    pub epoch: u64,
    /// The key of random choices, together with the epoch.
    pub seed: u64,
    /// A [`StreamReader::position`] to go on from; `None` for the beginning.
    pub position: Option<Position>,
}

/// One epoch of a stream under way.
pub trait StreamReader {
    /// One sample.
    type Item;

    /// The next sample, or `None` at the end. An error is about one sample: the next call goes on
    /// after it, if that can be done at all.
    fn next(&mut self) -> Option<Result<Self::Item, BoxError>>;

    /// The position after the last sample given.
    fn position(&self) -> Position;
}

/// A stream from a closure that is given the number of the epoch, from 0, and returns an iterator
/// over its samples.
///
/// To go on inside an epoch the samples before are made again and passed over.
pub fn stream<I: Iterator, F: Fn(u64) -> I + Send + Sync>(samples: F) -> impl Stream<Item = I::Item> {
    IterStream { samples }
}

struct IterStream<F> {
    samples: F,
}

impl<I: Iterator, F: Fn(u64) -> I + Send + Sync> Stream for IterStream<F> {
    type Item = I::Item;

    fn open(&self, at: StreamAt) -> Result<impl StreamReader<Item = I::Item>, BoxError> {
        let mut samples = (self.samples)(at.epoch);
        let mut given = 0;
        if let Some(position) = &at.position {
            let mut position = Decoder::new(position);
            given = position.number()?;
            position.end()?;
        }
        if let Some(last) = given.checked_sub(1)
            && samples.nth(usize::try_from(last)?).is_none()
        {
            let has = (self.samples)(at.epoch).take(usize::try_from(given)?).count();
            return Err(format!(
                "{given} samples were consumed of a stream that has {has} now: the data became shorter"
            )
            .into());
        }
        Ok(IterReader { samples, given })
    }
}

struct IterReader<I> {
    samples: I,
    given: u64,
}

impl<I: Iterator> StreamReader for IterReader<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<Result<I::Item, BoxError>> {
        let sample = self.samples.next()?;
        self.given += 1;
        Some(Ok(sample))
    }

    fn position(&self) -> Position {
        Encoder::default().number(self.given).finish()
    }
}
