//! Assembling one batch: the same on a worker and on the thread of the loop.

use std::borrow::Cow;
use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::data::Fetched;
use regimen_core::random::Random;

use super::collate::{Collator, Padded};
use super::plan::Plan;
use super::samples::Samples;
use super::worker::Signals;
use crate::data::dataset::Dataset;
use crate::data::fault::{SampleError, catch, out_of_range};

/// Makes the batches of a loader, of which only their type is known: one virtual call per batch.
pub(crate) trait Assemble<B>: Send + Sync {
    /// The name of the dataset.
    fn name(&self) -> Cow<'_, str>;

    /// The number of samples in the dataset.
    fn len(&self) -> usize;

    /// Makes the batch that `job` names; `random` is that of the batch. Returns `None` if
    /// stopped on the way.
    fn assemble(&self, job: &mut Job<'_>, random: &mut Random) -> Result<Option<Fetched<B>>, BoxError>;
}

/// One batch to be made.
pub(crate) struct Job<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) number: u64,
    pub(crate) signals: &'a Signals,
    /// The samples that were passed over.
    pub(crate) skipped: Vec<SampleError>,
}

/// A batch, or why there is none, and the samples passed over on the way.
pub(crate) struct Made<B> {
    pub(crate) result: Result<Fetched<B>, BoxError>,
    pub(crate) skipped: Vec<SampleError>,
}

/// Makes batch `number` of `plan`. Returns `None` if stopped on the way.
pub(crate) fn make<B>(
    assemble: &dyn Assemble<B>,
    plan: &Plan,
    number: u64,
    signals: &Signals,
) -> Option<Made<B>> {
    let mut job = Job { plan, number, signals, skipped: Vec::new() };
    // No panic leaves a batch, not even that of a sample which is dropped: a worker would end
    // without a word of it.
    let result = catch(|| Ok(assemble.assemble(&mut job, &mut plan.batch_random(number))))
        .unwrap_or_else(|error| Err(plan.fault(number, error)))
        .transpose()?;
    Some(Made { result, skipped: job.skipped })
}

/// Batches of `samples` by `collator`.
pub(crate) struct Assembly<S, C> {
    pub(crate) samples: S,
    pub(crate) collator: C,
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

impl<S: Samples, C: Collator<S::Item>> Assemble<C::Batch> for Assembly<S, C> {
    fn name(&self) -> Cow<'_, str> {
        self.samples.dataset().name()
    }

    fn len(&self) -> usize {
        self.samples.dataset().len()
    }

    fn assemble(&self, job: &mut Job<'_>, _: &mut Random) -> Result<Option<Fetched<C::Batch>>, BoxError> {
        let (plan, number, signals) = (job.plan, job.number, job.signals);
        let share = plan.shard.share(number);
        let mut partial = catch(|| Ok(self.collator.begin(share.size as usize)))
            .map_err(|error| plan.fault(number, error))?;
        let mut count = 0;
        let mut filler = share.padding;
        let given = share.positions.end - share.positions.start;
        for position in share.positions {
            if signals.is_stopped() {
                return Ok(None);
            }
            match self.add(plan, position, &mut partial, signals) {
                Ok(()) => {
                    if count == 0 {
                        filler = position;
                    }
                    count += 1;
                }
                Err(Refused::Bad(error)) if plan.skip_bad_samples => job.skipped.push(error),
                Err(refused) => return Err(refused.into_error()),
            }
        }
        if count == 0 && given > 0 {
            return Err(plan.fault(number, "none of its samples could be read".into()));
        }
        if plan.shard.pads() {
            for _ in count..share.size {
                self.add(plan, filler, &mut partial, signals).map_err(Refused::into_error)?;
            }
        }
        let batch = catch(|| self.collator.finish(partial)).map_err(|error| plan.fault(number, error))?;
        let position = Some(plan.shard.consumed(number).position());
        Ok(Some(Fetched { position, ..Fetched::new(batch, count) }))
    }
}

impl<S: Samples, C: Collator<S::Item>> Assembly<S, C> {
    /// Adds the sample at `position` to the batch.
    fn add(
        &self,
        plan: &Plan,
        position: u64,
        partial: &mut C::Partial,
        signals: &Signals,
    ) -> Result<(), Refused> {
        let index = plan.index(position).map_err(Refused::Lost)?;
        signals.set_sample(index);
        let mut random = plan.sample_random(position, index);
        let mut fits = true;
        catch(|| {
            if index >= plan.len {
                return Err(out_of_range(plan.len));
            }
            let sample = self.samples.draw(index, &mut random)?;
            // A panic in `add` may leave the batch half changed.
            fits = false;
            self.collator.add(partial, sample, &mut random)
        })
        .map_err(|error| {
            let error = SampleError::new(plan.dataset.as_str(), index, error);
            if fits { Refused::Bad(error) } else { Refused::Lost(error.into()) }
        })
    }
}

/// Batches of `inner`, each changed by `f`.
pub(crate) struct TransformBatch<A, F> {
    pub(crate) inner: Arc<dyn Assemble<A>>,
    pub(crate) f: F,
}

impl<A, B, F: Fn(A, &mut Random) -> B + Send + Sync> Assemble<B> for TransformBatch<A, F> {
    fn name(&self) -> Cow<'_, str> {
        self.inner.name()
    }

    fn len(&self) -> usize {
        self.inner.len()
    }

    fn assemble(&self, job: &mut Job<'_>, random: &mut Random) -> Result<Option<Fetched<B>>, BoxError> {
        let Some(Fetched { batch, samples, position }) = self.inner.assemble(job, random)? else {
            return Ok(None);
        };
        let batch = catch(|| Ok((self.f)(batch, random)));
        let batch = batch.map_err(|error| job.plan.fault(job.number, error))?;
        Ok(Some(Fetched { batch, samples, position }))
    }
}

/// Batches of `inner`, each with the number of its samples that count.
pub(crate) struct Pad<B>(pub(crate) Arc<dyn Assemble<B>>);

impl<B> Assemble<Padded<B>> for Pad<B> {
    fn name(&self) -> Cow<'_, str> {
        self.0.name()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn assemble(
        &self,
        job: &mut Job<'_>,
        random: &mut Random,
    ) -> Result<Option<Fetched<Padded<B>>>, BoxError> {
        Ok(self.0.assemble(job, random)?.map(|Fetched { batch, samples, position }| {
            let batch = Padded { batch, samples: samples as usize };
            Fetched { batch, samples, position }
        }))
    }
}
