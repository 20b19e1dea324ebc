//! How samples become a batch.

use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::engine::ToDevice;
use regimen_core::random::Random;
use regimen_core::text::Count;

/// A sample that a batch can be made of with no more said.
///
/// Numbers become a `Vec` of them, arrays a `Vec` of arrays (flat in memory), vectors a
/// [`Stacked`], and tuples a tuple of what their parts become.
#[diagnostic::on_unimplemented(
    message = "no batch is made of `{Self}` by default",
    note = "give the loader `.collate(|samples| ...)` or `.collate_into(begin, push)`"
)]
pub trait Collate: Sized {
    /// What many samples become.
    type Batch;

    /// An empty batch with room for `capacity` samples.
    fn batch(capacity: usize) -> Self::Batch;

    /// Adds this sample. Fails where it does not fit those before it.
    fn push(self, batch: &mut Self::Batch) -> Result<(), BoxError>;
}

macro_rules! scalars {
    ($($scalar:ty)*) => {$(
        impl Collate for $scalar {
            type Batch = Vec<$scalar>;

            fn batch(capacity: usize) -> Self::Batch {
                Vec::with_capacity(capacity)
            }

            fn push(self, batch: &mut Self::Batch) -> Result<(), BoxError> {
                batch.push(self);
                Ok(())
            }
        }
    )*};
}
scalars!(bool u8 u16 u32 u64 usize i8 i16 i32 i64 isize f32 f64 char String);

impl<T, const N: usize> Collate for [T; N] {
    type Batch = Vec<[T; N]>;

    fn batch(capacity: usize) -> Self::Batch {
        Vec::with_capacity(capacity)
    }

    fn push(self, batch: &mut Self::Batch) -> Result<(), BoxError> {
        batch.push(self);
        Ok(())
    }
}

macro_rules! tuples {
    ($($part:ident $index:tt),*) => {
        impl<$($part: Collate),*> Collate for ($($part,)*) {
            type Batch = ($($part::Batch,)*);

            fn batch(capacity: usize) -> Self::Batch {
                ($($part::batch(capacity),)*)
            }

            fn push(self, batch: &mut Self::Batch) -> Result<(), BoxError> {
                $(self.$index.push(&mut batch.$index)?;)*
                Ok(())
            }
        }
    };
}
tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);

/// Samples of one length, one after another in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stacked<T> {
    values: Vec<T>,
    rows: usize,
    capacity: usize,
}

impl<T> Stacked<T> {
    /// All values, sample after sample.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The values alone.
    pub fn into_values(self) -> Vec<T> {
        self.values
    }

    /// How many samples there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many values each sample has.
    pub fn width(&self) -> usize {
        self.values.len().checked_div(self.rows).unwrap_or_default()
    }
}

impl<D, T: ToDevice<D>> ToDevice<D> for Stacked<T> {
    fn move_to(self, device: &D) -> Result<Self, BoxError> {
        Ok(Stacked { values: self.values.move_to(device)?, ..self })
    }
}

impl<T> Collate for Vec<T> {
    type Batch = Stacked<T>;

    fn batch(capacity: usize) -> Self::Batch {
        Stacked { values: Vec::new(), rows: 0, capacity }
    }

    fn push(self, batch: &mut Self::Batch) -> Result<(), BoxError> {
        if batch.rows == 0 {
            batch.values.reserve_exact(batch.capacity * self.len());
        } else if self.len() != batch.width() {
            let width = batch.width();
            return Err(format!(
                "{} where the samples before it have {width}",
                Count(self.len() as u64, "value")
            )
            .into());
        }
        batch.values.extend(self);
        batch.rows += 1;
        Ok(())
    }
}

/// Makes batches of samples of type `T`: the last stage of a [`Loader`](crate::data::Loader).
pub trait Collator<T>: Send + Sync {
    /// A batch being made.
    type Partial;
    /// A batch.
    type Batch;

    /// An empty batch with room for `capacity` samples.
    fn begin(&self, capacity: usize) -> Self::Partial;

    /// Adds a sample. `random` is that of the sample.
    fn push(&self, partial: &mut Self::Partial, sample: T, random: &mut Random) -> Result<(), BoxError>;

    /// Ends a batch of which the first `samples` count. `random` is that of the batch.
    fn finish(
        &self,
        partial: Self::Partial,
        samples: usize,
        random: &mut Random,
    ) -> Result<Self::Batch, BoxError>;
}

/// The default: what [`Collate`] says of the samples.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stack;

impl<T: Collate> Collator<T> for Stack {
    type Partial = T::Batch;
    type Batch = T::Batch;

    fn begin(&self, capacity: usize) -> T::Batch {
        T::batch(capacity)
    }

    fn push(&self, partial: &mut T::Batch, sample: T, _: &mut Random) -> Result<(), BoxError> {
        sample.push(partial)
    }

    fn finish(&self, partial: T::Batch, _: usize, _: &mut Random) -> Result<T::Batch, BoxError> {
        Ok(partial)
    }
}

impl<T, C: Collator<T>> Collator<T> for Arc<C> {
    type Partial = C::Partial;
    type Batch = C::Batch;

    fn begin(&self, capacity: usize) -> C::Partial {
        (**self).begin(capacity)
    }

    fn push(&self, partial: &mut C::Partial, sample: T, random: &mut Random) -> Result<(), BoxError> {
        (**self).push(partial, sample, random)
    }

    fn finish(&self, partial: C::Partial, samples: usize, random: &mut Random) -> Result<C::Batch, BoxError> {
        (**self).finish(partial, samples, random)
    }
}

/// Made by [`Loader::collate`](crate::data::Loader::collate).
#[derive(Clone, Copy, Debug)]
pub struct CollateWith<F>(pub(crate) F);

impl<T, B, F> Collator<T> for CollateWith<F>
where
    F: Fn(Vec<T>) -> Result<B, BoxError> + Send + Sync,
{
    type Partial = Vec<T>;
    type Batch = B;

    fn begin(&self, capacity: usize) -> Vec<T> {
        Vec::with_capacity(capacity)
    }

    fn push(&self, partial: &mut Vec<T>, sample: T, _: &mut Random) -> Result<(), BoxError> {
        partial.push(sample);
        Ok(())
    }

    fn finish(&self, partial: Vec<T>, _: usize, _: &mut Random) -> Result<B, BoxError> {
        (self.0)(partial)
    }
}

/// Made by [`Loader::collate_into`](crate::data::Loader::collate_into).
#[derive(Clone, Copy, Debug)]
pub struct CollateInto<N, F> {
    pub(crate) begin: N,
    pub(crate) push: F,
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

    fn push(&self, partial: &mut B, sample: T, random: &mut Random) -> Result<(), BoxError> {
        (self.push)(partial, sample, random)
    }

    fn finish(&self, partial: B, _: usize, _: &mut Random) -> Result<B, BoxError> {
        Ok(partial)
    }
}

/// Made by [`Loader::transform_batch`](crate::data::Loader::transform_batch).
#[derive(Clone, Copy, Debug)]
pub struct TransformBatch<C, F> {
    pub(crate) collator: C,
    pub(crate) transform: F,
}

impl<T, B, C, F> Collator<T> for TransformBatch<C, F>
where
    C: Collator<T>,
    F: Fn(C::Batch, &mut Random) -> B + Send + Sync,
{
    type Partial = C::Partial;
    type Batch = B;

    fn begin(&self, capacity: usize) -> C::Partial {
        self.collator.begin(capacity)
    }

    fn push(&self, partial: &mut C::Partial, sample: T, random: &mut Random) -> Result<(), BoxError> {
        self.collator.push(partial, sample, random)
    }

    fn finish(&self, partial: C::Partial, samples: usize, random: &mut Random) -> Result<B, BoxError> {
        let batch = self.collator.finish(partial, samples, random)?;
        Ok((self.transform)(batch, random))
    }
}

/// A batch filled up with samples that do not count: see [`Loader::pad_last`](crate::data::Loader::pad_last).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Padded<B> {
    /// The batch, padding included.
    pub batch: B,
    /// How many samples count: the first ones. All others have weight zero.
    pub samples: usize,
}

impl<B> Padded<B> {
    /// The weight of each of `size` samples: 1 for those that count, 0 for padding.
    pub fn weights(&self, size: usize) -> Vec<f32> {
        (0..size).map(|row| if row < self.samples { 1.0 } else { 0.0 }).collect()
    }
}

impl<D, B: ToDevice<D>> ToDevice<D> for Padded<B> {
    fn move_to(self, device: &D) -> Result<Self, BoxError> {
        Ok(Padded { batch: self.batch.move_to(device)?, ..self })
    }
}

/// Made by [`Loader::pad_last`](crate::data::Loader::pad_last).
#[derive(Clone, Copy, Debug)]
pub struct Pad<C>(pub(crate) C);

impl<T, C: Collator<T>> Collator<T> for Pad<C> {
    type Partial = C::Partial;
    type Batch = Padded<C::Batch>;

    fn begin(&self, capacity: usize) -> C::Partial {
        self.0.begin(capacity)
    }

    fn push(&self, partial: &mut C::Partial, sample: T, random: &mut Random) -> Result<(), BoxError> {
        self.0.push(partial, sample, random)
    }

    fn finish(
        &self,
        partial: C::Partial,
        samples: usize,
        random: &mut Random,
    ) -> Result<Padded<C::Batch>, BoxError> {
        Ok(Padded { batch: self.0.finish(partial, samples, random)?, samples })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collated<T: Collate>(samples: impl IntoIterator<Item = T>) -> Result<T::Batch, BoxError> {
        let mut batch = T::batch(2);
        samples.into_iter().try_for_each(|sample| sample.push(&mut batch))?;
        Ok(batch)
    }

    #[test]
    fn parts_of_tuples_are_gathered_apart() {
        let (images, labels) = collated([([1.0_f32, 2.0], 7_u8), ([3.0, 4.0], 8)]).unwrap();
        assert_eq!((images.as_flattened(), labels), ([1.0, 2.0, 3.0, 4.0].as_slice(), vec![7, 8]));
    }

    #[test]
    fn vectors_are_stacked_in_one_allocation() {
        let stacked = collated([vec![1, 2, 3], vec![4, 5, 6]]).unwrap();
        assert_eq!(
            (stacked.rows(), stacked.width(), stacked.values()),
            (2, 3, [1, 2, 3, 4, 5, 6].as_slice())
        );
        assert_eq!(stacked.into_values().capacity(), 6);
    }

    #[test]
    fn ragged_samples_are_refused() {
        let error = collated([vec![1, 2], vec![3]]).unwrap_err();
        assert_eq!(error.to_string(), "1 value where the samples before it have 2");
        let error = collated([vec![], vec![3]]).unwrap_err();
        assert_eq!(error.to_string(), "1 value where the samples before it have 0");
    }
}
