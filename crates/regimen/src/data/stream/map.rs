//! Streams with changed samples.

use std::borrow::Cow;

use regimen_core::BoxError;
use regimen_core::data::Position;
use regimen_core::random::{Random, keyed};

use super::{Stream, StreamAt, StreamReader};
use crate::data::position::{Decoder, Encoder};

/// Made by [`Stream::try_map`].
pub(crate) struct MapStream<S, F> {
    pub(crate) stream: S,
    pub(crate) f: F,
}

impl<S, T, F> Stream for MapStream<S, F>
where
    S: Stream,
    F: Fn(S::Item) -> Result<T, BoxError> + Send + Sync,
{
    type Item = T;

    fn open(&self, at: StreamAt) -> Result<impl StreamReader<Item = T>, BoxError> {
        Ok(MapReader { reader: self.stream.open(at)?, f: &self.f })
    }

    fn name(&self) -> Cow<'_, str> {
        self.stream.name()
    }
}

struct MapReader<'a, R, F> {
    reader: R,
    f: &'a F,
}

impl<R: StreamReader, T, F: Fn(R::Item) -> Result<T, BoxError>> StreamReader for MapReader<'_, R, F> {
    type Item = T;

    fn next(&mut self) -> Option<Result<T, BoxError>> {
        Some(self.reader.next()?.and_then(self.f))
    }

    fn position(&self) -> Position {
        self.reader.position()
    }
}

/// Made by [`Stream::transform`].
pub(crate) struct TransformStream<S, F> {
    pub(crate) stream: S,
    pub(crate) f: F,
}

impl<S, T, F> Stream for TransformStream<S, F>
where
    S: Stream,
    F: Fn(S::Item, &mut Random) -> T + Send + Sync,
{
    type Item = T;

    fn open(&self, at: StreamAt) -> Result<impl StreamReader<Item = T>, BoxError> {
        let (mut given, mut inner) = (0, None);
        if let Some(position) = &at.position {
            let mut position = Decoder::new(position);
            (given, inner) = (position.number()?, Some(position.position()?));
            position.end()?;
        }
        let StreamAt { epoch, seed, .. } = at;
        let reader = self.stream.open(StreamAt { epoch, seed, position: inner })?;
        Ok(TransformReader { reader, f: &self.f, seed, epoch, given })
    }

    fn name(&self) -> Cow<'_, str> {
        self.stream.name()
    }
}

struct TransformReader<'a, R, F> {
    reader: R,
    f: &'a F,
    seed: u64,
    epoch: u64,
    /// Samples given in the epoch.
    given: u64,
}

impl<R: StreamReader, T, F: Fn(R::Item, &mut Random) -> T> StreamReader for TransformReader<'_, R, F> {
    type Item = T;

    fn next(&mut self) -> Option<Result<T, BoxError>> {
        let key = keyed(self.seed, "sample", self.epoch, self.given);
        let sample = self.reader.next()?;
        self.given += 1;
        Some(sample.map(|sample| (self.f)(sample, &mut Random::new(key))))
    }

    fn position(&self) -> Position {
        Encoder::default().number(self.given).position(&self.reader.position()).finish()
    }
}
