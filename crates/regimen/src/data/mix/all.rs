//! Batches of several sources at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::data::{At, Data, DynData, Epoch, Fetched};

use super::length::{at_once, shorter};
use super::sources::{Exhausted, Source, Sources, opened};
use super::stopping::Stopping;
use crate::data::position::{Decoder, Encoder};

/// One batch of each source, by its name.
pub type BatchOfEach<B> = BTreeMap<Arc<str>, B>;

/// A batch of every source at once, by name: [`Data`] for a run.
///
/// Under [`Stopping::AllExhausted`] an exhausted source is missing from the map from then on. When
/// the epoch ends, batches drawn for an incomplete map are dropped.
pub struct AllBatches<B> {
    sources: Vec<Source<B>>,
    stopping: Stopping,
    allow_empty: bool,
}

impl<B> AllBatches<B> {
    /// No source yet.
    pub fn new() -> Self {
        AllBatches { sources: Vec::new(), stopping: Stopping::default(), allow_empty: false }
    }

    /// Adds a source.
    pub fn source(
        mut self,
        name: impl Into<Arc<str>>,
        data: impl DynData<B> + Send + Sync + 'static,
    ) -> Self {
        self.sources.push(Source { name: name.into(), weight: 1.0, data: Box::new(data) });
        self
    }

    /// When an epoch ends. Default: [`Stopping::AllExhausted`].
    pub fn until(self, stopping: Stopping) -> Self {
        AllBatches { stopping, ..self }
    }

    /// Passes over sources that have no batch at all. By default they are an error.
    pub fn allow_empty(self) -> Self {
        AllBatches { allow_empty: true, ..self }
    }
}

impl<B> Default for AllBatches<B> {
    /// No source yet.
    fn default() -> Self {
        AllBatches::new()
    }
}

impl<B> Data for AllBatches<B> {
    type Batch = BatchOfEach<B>;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = BatchOfEach<B>>, BoxError> {
        if self.sources.is_empty() {
            return Err("batches of no source".into());
        }
        let mut sources = opened(&self.sources, &at, self.stopping, self.allow_empty)?;
        if let Some(position) = &at.position {
            let mut position = Decoder::new(position);
            sources.restore(&mut position)?;
            position.end()?;
            return Ok(AllBatchesEpoch { sources, stopping: self.stopping });
        }
        let mut epoch = AllBatchesEpoch { sources, stopping: self.stopping };
        for number in 0..at.skip {
            epoch.draw()?.ok_or_else(|| shorter(at.skip, number))?;
        }
        Ok(epoch)
    }

    fn batches(&self) -> Option<u64> {
        let lengths = self.sources.iter().map(Source::length).collect::<Option<Vec<_>>>()?;
        at_once(&lengths, self.stopping)
    }
}

impl<B> std::fmt::Debug for AllBatches<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.sources.iter().map(|source| &*source.name).collect();
        f.debug_struct("AllBatches").field("sources", &names).field("stopping", &self.stopping).finish()
    }
}

struct AllBatchesEpoch<'a, B> {
    sources: Sources<'a, B>,
    stopping: Stopping,
}

impl<B> AllBatchesEpoch<'_, B> {
    fn draw(&mut self) -> Result<Option<Fetched<BatchOfEach<B>>>, BoxError> {
        let mut batches = BTreeMap::new();
        let mut samples = 0;
        for index in 0..self.sources.len() {
            while self.sources.in_play(index) {
                if let Some(fetched) = self.sources.next(index)? {
                    samples += fetched.samples;
                    batches.insert(self.sources.name(index).clone(), fetched.batch);
                    break;
                }
                if self.sources.exhausted(index) == Exhausted::Stop {
                    return Ok(None);
                }
            }
        }
        if batches.is_empty() {
            return Ok(None);
        }
        let position = Some(self.sources.save(Encoder::default()).finish());
        Ok(Some(Fetched { position, ..Fetched::new(batches, samples) }))
    }
}

impl<B> Epoch for AllBatchesEpoch<'_, B> {
    type Batch = BatchOfEach<B>;

    fn next(&mut self) -> Option<Result<Fetched<Self::Batch>, BoxError>> {
        self.draw().transpose()
    }

    fn batches_left(&self) -> Option<u64> {
        at_once(&self.sources.lengths()?, self.stopping)
    }

    fn notice(&mut self) -> Option<String> {
        self.sources.notice()
    }
}
