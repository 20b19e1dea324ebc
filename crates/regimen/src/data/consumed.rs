//! Progress in an epoch, counted in samples.
//!
//! Batches are no measure: a run may continue with others. So the position of a batch counts the
//! samples of the epoch's order up to its end, those of all ranks and those passed over included.

use regimen_core::BoxError;
use regimen_core::data::{At, Position};

use super::position::{Decoder, Encoder};

/// The part of an epoch that was consumed, with the sizes of the epoch and of its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Consumed {
    /// Samples that were consumed.
    pub(crate) samples: u64,
    /// Samples of the whole epoch.
    pub(crate) of: u64,
    /// Samples of one batch.
    pub(crate) batch: u64,
}

/// The first number in a position of a [`Consumed`], and in one of a [`Streamed`].
const CONSUMED: u64 = u64::from_le_bytes(*b"consumed");
const STREAMED: u64 = u64::from_le_bytes(*b"streamed");

impl Consumed {
    pub(crate) fn position(self) -> Position {
        let mut bytes = [0; 32];
        let numbers = [CONSUMED, self.samples, self.of, self.batch];
        for (place, number) in bytes.as_chunks_mut().0.iter_mut().zip(numbers) {
            *place = number.to_le_bytes();
        }
        Position::new(&bytes)
    }

    /// Read from `at`, for an epoch of `of` samples in batches of `batch`. Early checkpoints have no
    /// position: then all batches before were of that size.
    pub(crate) fn at(at: &At, of: u64, batch: u64) -> Result<Self, BoxError> {
        let Some(position) = &at.position else {
            return Ok(Consumed { samples: at.skip.saturating_mul(batch).min(of), of, batch });
        };
        let mut position = Decoder::new(position);
        position.tag(CONSUMED)?;
        let consumed =
            Consumed { samples: position.number()?, of: position.number()?, batch: position.number()? };
        position.end()?;
        let Consumed { samples, of: had, .. } = consumed;
        if of < had && samples <= of {
            return Err(format!(
                "an epoch has {of} samples now, and had {had} when this one was saved: the data became shorter"
            )
            .into());
        }
        Ok(consumed)
    }

    /// The notices of an epoch that was consumed so far and goes on as one of `of` samples in batches
    /// of `batch`.
    pub(crate) fn notices(&self, of: u64, batch: u64) -> impl Iterator<Item = String> {
        let Consumed { samples, of: had, .. } = *self;
        let other_length = (had != of).then(|| {
            format!(
                "an epoch has {of} samples now, and had {had} when this one was saved: it goes on at sample \
                 {samples}, and where the order depends on their number, some come twice and some not at all"
            )
        });
        other_length.into_iter().chain(other_batch(self.batch, batch, samples))
    }
}

/// The consumed part of a stream in an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Streamed {
    /// Samples that were consumed.
    pub(crate) samples: u64,
    /// Samples of one batch.
    pub(crate) batch: u64,
    /// The position of the reader.
    pub(crate) reader: Position,
}

impl Streamed {
    pub(crate) fn position(&self) -> Position {
        let Streamed { samples, batch, ref reader } = *self;
        Encoder::default().number(STREAMED).number(samples).number(batch).position(reader).finish()
    }

    /// Read from `at`, for an epoch in batches of `batch`. Returns `None` if it has no position. Early
    /// checkpoints have the reader's alone: then all batches before were of that size.
    pub(crate) fn at(at: &At, batch: u64) -> Result<Option<Self>, BoxError> {
        let Some(position) = &at.position else { return Ok(None) };
        let mut saved = Decoder::new(position);
        if saved.tag(STREAMED).is_err() {
            let samples = at.skip.saturating_mul(batch);
            return Ok(Some(Streamed { samples, batch, reader: position.clone() }));
        }
        let streamed =
            Streamed { samples: saved.number()?, batch: saved.number()?, reader: saved.position()? };
        saved.end()?;
        Ok(Some(streamed))
    }

    /// The notice of an epoch that goes on in batches of `batch`.
    pub(crate) fn notice(&self, batch: u64) -> Option<String> {
        other_batch(self.batch, batch, self.samples)
    }
}

fn other_batch(had: u64, batch: u64, samples: u64) -> Option<String> {
    let text =
        || format!("batches of {batch} samples now, and of {had} before: it goes on at sample {samples}");
    (had != batch).then(text)
}
