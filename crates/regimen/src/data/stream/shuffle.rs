//! Shuffling of streams within blocks, so that any point can be found again.
//!
//! A buffer from which random samples leave one at a time could only be found again by saving what
//! is in it. A block is named by its start: it is read again, and its order is keyed.

use std::borrow::Cow;

use regimen_core::BoxError;
use regimen_core::data::Position;
use regimen_core::random::{Random, keyed};
use regimen_core::text::Count;

use super::{Stream, StreamAt, StreamReader};
use crate::data::fault::FAILURES_IN_A_ROW;
use crate::data::permutation::Permutation;
use crate::data::position::{Decoder, Encoder};

/// A stream shuffled in blocks: made by [`Stream::shuffle`].
pub(crate) struct ShuffleStream<S> {
    stream: S,
    buffer: u64,
}

impl<S: Stream> ShuffleStream<S> {
    pub(crate) fn new(stream: S, buffer: usize) -> Self {
        ShuffleStream { stream, buffer: buffer.max(1) as u64 }
    }
}

impl<S: Stream> Stream for ShuffleStream<S> {
    type Item = S::Item;

    fn open(&self, at: StreamAt) -> Result<impl StreamReader<Item = S::Item>, BoxError> {
        let StreamAt { epoch, seed, .. } = at;
        let Some(position) = &at.position else {
            let reader = self.stream.open(at)?;
            return Ok(ShuffleReader::new(reader, self.buffer, seed, epoch, 0));
        };
        let mut position = Decoder::new(position);
        let (number, length, given) = (position.number()?, position.number()?, position.number()?);
        let start = position.position()?;
        position.end()?;
        let reader = self.stream.open(StreamAt { epoch, seed, position: Some(start) })?;
        let mut reader = ShuffleReader::new(reader, self.buffer, seed, epoch, number);
        // Failures in this block were reported when it was read for the first time.
        let mut failures = length.saturating_add(1).saturating_mul(FAILURES_IN_A_ROW);
        while let Some(error) = reader.fill() {
            failures -= 1;
            if failures == 0 {
                return Err(error);
            }
        }
        if reader.block.len() as u64 != length || length < given {
            let read = reader.block.len();
            let name = self.stream.name();
            return Err(format!(
                "`{name}` has changed: {} where {length} were",
                Count(read as u64, "sample")
            )
            .into());
        }
        (0..given).for_each(|_| drop(reader.take()));
        Ok(reader)
    }

    fn name(&self) -> Cow<'_, str> {
        self.stream.name()
    }
}

struct ShuffleReader<R: StreamReader> {
    reader: R,
    buffer: u64,
    seed: u64,
    epoch: u64,
    /// The block in memory: its number in the epoch, where it begins, and its samples, of which
    /// those given are gone.
    number: u64,
    start: Position,
    block: Vec<Option<R::Item>>,
    given: u64,
    /// Its order, once it is all there.
    order: Option<Permutation>,
}

impl<R: StreamReader> ShuffleReader<R> {
    fn new(reader: R, buffer: u64, seed: u64, epoch: u64, number: u64) -> Self {
        let start = reader.position();
        ShuffleReader { reader, buffer, seed, epoch, number, start, block: vec![], given: 0, order: None }
    }

    /// Reads the block to its end. Returns at every sample that fails; the next call goes on.
    fn fill(&mut self) -> Option<BoxError> {
        let size = match self.number {
            // So that in another epoch the blocks begin elsewhere.
            0 => 1 + Random::new(keyed(self.seed, "first block", self.epoch, 0)).below(self.buffer),
            _ => self.buffer,
        };
        while (self.block.len() as u64) < size {
            match self.reader.next() {
                None => break,
                Some(Ok(sample)) => self.block.push(Some(sample)),
                Some(Err(error)) => return Some(error),
            }
        }
        let key = keyed(self.seed, "block", self.epoch, self.number);
        self.order = Some(Permutation::new(self.block.len() as u64, key));
        None
    }

    /// The next sample of the block; none when all are given.
    fn take(&mut self) -> Option<R::Item> {
        let index = self.order.as_ref().filter(|order| self.given < order.len())?.index(self.given);
        self.given += 1;
        self.block[index as usize].take()
    }
}

impl<R: StreamReader> StreamReader for ShuffleReader<R> {
    type Item = R::Item;

    fn next(&mut self) -> Option<Result<R::Item, BoxError>> {
        if let Some(sample) = self.take() {
            return Some(Ok(sample));
        }
        if self.order.take().is_some() {
            self.block.clear();
            self.given = 0;
            self.number += 1;
            self.start = self.reader.position();
        }
        match self.fill() {
            Some(error) => Some(Err(error)),
            None => self.take().map(Ok),
        }
    }

    fn position(&self) -> Position {
        Encoder::default()
            .number(self.number)
            .number(self.block.len() as u64)
            .number(self.given)
            .position(&self.start)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::stream;
    use super::*;

    fn rest(
        stream: &impl Stream<Item = u64>,
        epoch: u64,
        position: Option<&Position>,
    ) -> Vec<(u64, Position)> {
        let mut reader = stream.open(StreamAt { epoch, seed: 42, position: position.cloned() }).unwrap();
        std::iter::from_fn(|| Some((reader.next()?.unwrap(), reader.position()))).collect()
    }

    proptest! {
        #[test]
        fn every_sample_comes_once_near_its_place_and_reading_goes_on_anywhere(
            samples in 0_u64..60, buffer in 0_usize..20, epoch in 0_u64..3,
        ) {
            let shuffled = stream(move |_| 0..samples).shuffle(buffer);
            let all = rest(&shuffled, epoch, None);
            for (place, (sample, position)) in all.iter().enumerate() {
                prop_assert!(sample.abs_diff(place as u64) < buffer.max(1) as u64);
                prop_assert_eq!(&rest(&shuffled, epoch, Some(position)), &all[place + 1..]);
            }
            let mut seen: Vec<u64> = all.into_iter().map(|(sample, _)| sample).collect();
            seen.sort();
            prop_assert!(seen.into_iter().eq(0..samples));
        }
    }

    #[test]
    fn blocks_begin_elsewhere_in_another_epoch() {
        let shuffled = stream(|_| 0..100).shuffle(30);
        let order =
            |epoch| rest(&shuffled, epoch, None).into_iter().map(|(sample, _)| sample).collect::<Vec<_>>();
        assert_ne!(order(0), order(1));
        // No sample of the first block of one epoch would leave it in the other, were they the same.
        let first = |epoch| (1..=100).find(|&n| order(epoch)[..n].iter().all(|&sample| sample < n as u64));
        let firsts: std::collections::BTreeSet<_> = (0..10).map(first).collect();
        assert!(firsts.len() > 3, "{firsts:?}");
    }

    #[test]
    fn a_source_that_has_changed_is_refused() {
        let reads = |samples: u64| stream(move |_| 0..samples).shuffle(8);
        let (_, position) = rest(&reads(20), 0, None).swap_remove(18);
        let at = StreamAt { epoch: 0, seed: 42, position: Some(position) };
        let error = reads(19).open(at).err().unwrap().to_string();
        assert!(error.starts_with("`stream` has changed: "), "{error}");
    }
}
