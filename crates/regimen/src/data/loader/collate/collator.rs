//! The last stage of a loader: it makes a batch of samples, one after another.

use regimen_core::BoxError;
use regimen_core::random::Random;

use super::Collate;

/// Makes batches of samples of type `T`.
pub(crate) trait Collator<T>: Send + Sync {
    /// A batch being made.
    type Partial;
    /// A batch.
    type Batch;

    /// An empty batch with room for `capacity` samples.
    fn begin(&self, capacity: usize) -> Self::Partial;

    /// Adds a sample. `random` is that of the sample.
    fn add(&self, partial: &mut Self::Partial, sample: T, random: &mut Random) -> Result<(), BoxError>;

    /// The whole batch.
    fn finish(&self, partial: Self::Partial) -> Result<Self::Batch, BoxError>;
}

/// The default: [`Collate`] of the samples.
pub(crate) struct Stack;

impl<T: Collate> Collator<T> for Stack {
    type Partial = T::Batch;
    type Batch = T::Batch;

    fn begin(&self, capacity: usize) -> T::Batch {
        T::batch(capacity)
    }

    fn add(&self, partial: &mut T::Batch, sample: T, _: &mut Random) -> Result<(), BoxError> {
        sample.add_to_batch(partial)
    }

    fn finish(&self, partial: T::Batch) -> Result<T::Batch, BoxError> {
        Ok(partial)
    }
}

/// A function of all samples of a batch: [`Loader::collate`](crate::data::Loader::collate).
pub(crate) struct CollateWith<F>(pub(crate) F);

impl<T, B, F> Collator<T> for CollateWith<F>
where
    F: Fn(Vec<T>) -> Result<B, BoxError> + Send + Sync,
{
    type Partial = Vec<T>;
    type Batch = B;

    fn begin(&self, capacity: usize) -> Vec<T> {
        Vec::with_capacity(capacity)
    }

    fn add(&self, partial: &mut Vec<T>, sample: T, _: &mut Random) -> Result<(), BoxError> {
        partial.push(sample);
        Ok(())
    }

    fn finish(&self, partial: Vec<T>) -> Result<B, BoxError> {
        (self.0)(partial)
    }
}

/// A function that writes each sample to its place:
/// [`Loader::collate_into`](crate::data::Loader::collate_into).
pub(crate) struct CollateInto<N, F> {
    pub(crate) begin: N,
    pub(crate) add: F,
}

impl<T, B, N, F> Collator<T> for CollateInto<N, F>
where
    N: Fn(usize) -> B + Send + Sync,
    F: Fn(&mut B, T, &mut Random) -> Result<(), BoxError> + Send + Sync,
{
    type Partial = B;
    type Batch = B;

    fn begin(&self, capacity: usize) -> B {
        (self.begin)(capacity)
    }

    fn add(&self, partial: &mut B, sample: T, random: &mut Random) -> Result<(), BoxError> {
        (self.add)(partial, sample, random)
    }

    fn finish(&self, partial: B) -> Result<B, BoxError> {
        Ok(partial)
    }
}
