//! Collating: samples to a batch.

mod collator;
mod padded;
mod stacked;

pub(crate) use collator::{CollateInto, CollateWith, Collator, Stack};
pub use padded::Padded;
pub use stacked::Stacked;

use regimen_core::BoxError;

/// The batch that samples of this type make by default.
///
/// Numbers become a `Vec` of them, arrays a `Vec` of arrays (flat in memory), vectors a
/// [`Stacked`], and tuples a tuple of the batches of their parts.
#[diagnostic::on_unimplemented(
    message = "no batch is made of `{Self}` by default",
    note = "use `Loader::collate(samples, |samples| ...)` or `Loader::collate_into(samples, begin, add)`"
)]
pub trait Collate: Sized {
    /// A batch of such samples.
    type Batch;

    /// An empty batch with room for `capacity` samples.
    fn batch(capacity: usize) -> Self::Batch;

    /// Adds this sample to `batch`. Fails if it does not fit those before it.
    fn add_to_batch(self, batch: &mut Self::Batch) -> Result<(), BoxError>;
}

macro_rules! scalars {
    ($($scalar:ty)*) => {$(
        impl Collate for $scalar {
            type Batch = Vec<$scalar>;

            fn batch(capacity: usize) -> Self::Batch {
                Vec::with_capacity(capacity)
            }

            fn add_to_batch(self, batch: &mut Self::Batch) -> Result<(), BoxError> {
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

    fn add_to_batch(self, batch: &mut Self::Batch) -> Result<(), BoxError> {
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

            fn add_to_batch(self, batch: &mut Self::Batch) -> Result<(), BoxError> {
                $(self.$index.add_to_batch(&mut batch.$index)?;)*
                Ok(())
            }
        }
    };
}
tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);

#[cfg(test)]
mod tests {
    use super::*;

    fn collated<T: Collate>(samples: impl IntoIterator<Item = T>) -> Result<T::Batch, BoxError> {
        let mut batch = T::batch(2);
        samples.into_iter().try_for_each(|sample| sample.add_to_batch(&mut batch))?;
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
