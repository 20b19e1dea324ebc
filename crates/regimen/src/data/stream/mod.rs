//! Streams: samples that can only be had one after another, with a position after each.

mod lines;
mod loader;
mod map;
mod shuffle;

pub use lines::{Lines, LinesReader};
pub use loader::{StreamEpoch, StreamLoader};
pub use map::{MapReader, StreamMap, StreamTransform, TransformReader};
pub use shuffle::{Shuffle, ShuffleReader};

use std::borrow::Cow;

use regimen_core::BoxError;
use regimen_core::data::Position;
use regimen_core::random::Random;

use super::position::{Decoder, Encoder};

/// Samples that can only be had one after another: text, archives, what a socket sends.
///
/// A [`StreamLoader`](super::StreamLoader) makes batches of it. The position travels with each
/// batch, so a run goes on after the last batch it used, not after the last one that was read.
pub trait Stream: Send + Sync {
    /// One sample.
    type Item;

    /// The stream while it is read.
    type Reader<'a>: Reader<Item = Self::Item>
    where
        Self: 'a;

    /// Begins an epoch, or goes on inside it.
    fn open(&self, at: StreamAt<'_>) -> Result<Self::Reader<'_>, BoxError>;

    /// What errors call it.
    fn name(&self) -> Cow<'_, str> {
        "stream".into()
    }

    /// The same samples, each changed by `f`, which may fail.
    fn try_map<T, F>(self, f: F) -> StreamMap<Self, F>
    where
        F: Fn(Self::Item) -> Result<T, BoxError> + Send + Sync,
        Self: Sized,
    {
        StreamMap { stream: self, f }
    }

    /// The same samples, each changed by `f` with a generator keyed by (seed, epoch, number of the
    /// sample in the epoch).
    fn transform<T, F>(self, f: F) -> StreamTransform<Self, F>
    where
        F: Fn(Self::Item, &mut Random) -> T + Send + Sync,
        Self: Sized,
    {
        StreamTransform { stream: self, f }
    }

    /// Shuffles within blocks of `buffer` samples, which are in memory together.
    ///
    /// Where the blocks begin differs from epoch to epoch. A sample moves by less than `buffer`
    /// places, so a stream that is sorted needs a buffer of many times its runs, or to be
    /// shuffled on disk. Zero is taken as one, which changes nothing.
    fn shuffle(self, buffer: usize) -> Shuffle<Self>
    where
        Self: Sized,
    {
        Shuffle::new(self, buffer)
    }
}

/// Where a stream is to begin.
#[derive(Clone, Copy, Debug)]
pub struct StreamAt<'a> {
    /// Completed epochs: 0 for the first.
    pub epoch: u64,
    /// What random choices are keyed by, together with the epoch.
    pub seed: u64,
    /// What [`Reader::position`] was, to go on from there; none for the beginning.
    pub position: Option<&'a Position>,
}

/// So many failures with no sample between them are a source that is broken, not bad samples in it.
pub(crate) const FAILURES_IN_A_ROW: u64 = 1000;

/// A stream while it is read.
pub trait Reader {
    /// One sample.
    type Item;

    /// The next sample; none at the end. An error is about one sample: the next call goes on
    /// after it, if that can be done at all.
    fn next(&mut self) -> Option<Result<Self::Item, BoxError>>;

    /// Where it stands: after the last sample given.
    fn position(&self) -> Position;
}

/// A stream of what the iterators give that `make` makes for each epoch, counted from 0.
///
/// To go on inside an epoch the samples before are made again and passed over.
pub fn stream<I: Iterator, F: Fn(u64) -> I + Send + Sync>(make: F) -> IterStream<F> {
    IterStream { make }
}

/// A stream made by [`stream`].
#[derive(Clone, Debug)]
pub struct IterStream<F> {
    make: F,
}

impl<I: Iterator, F: Fn(u64) -> I + Send + Sync> Stream for IterStream<F> {
    type Item = I::Item;
    type Reader<'a>
        = IterReader<I>
    where
        F: 'a;

    fn open(&self, at: StreamAt<'_>) -> Result<IterReader<I>, BoxError> {
        let mut items = (self.make)(at.epoch);
        let mut given = 0;
        if let Some(position) = at.position {
            let mut position = Decoder::new(position);
            given = position.number()?;
            position.end()?;
        }
        if let Some(last) = given.checked_sub(1)
            && items.nth(usize::try_from(last)?).is_none()
        {
            let has = (self.make)(at.epoch).take(usize::try_from(given)?).count();
            return Err(format!(
                "{given} samples were consumed of a stream that has {has} now: the data became shorter"
            )
            .into());
        }
        Ok(IterReader { items, given })
    }
}

/// An [`IterStream`] while it is read.
#[derive(Debug)]
pub struct IterReader<I> {
    items: I,
    given: u64,
}

impl<I: Iterator> Reader for IterReader<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<Result<I::Item, BoxError>> {
        let item = self.items.next()?;
        self.given += 1;
        Some(Ok(item))
    }

    fn position(&self) -> Position {
        Encoder::default().number(self.given).finish()
    }
}
