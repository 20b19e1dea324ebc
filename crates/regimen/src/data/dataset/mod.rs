//! Datasets: samples by their index.

mod combine;
pub(super) mod files;
mod named;
mod subset;

pub use combine::{Concatenated, Mapped, TryMapped, Zipped};
#[cfg(feature = "images")]
pub use files::ImageFolder;
pub use files::{Csv, Idx};
#[cfg(feature = "mmap")]
pub use files::{TokenFile, TokenWidth, TokenWindows};
pub use named::Named;
pub use subset::Subset;

use std::borrow::Cow;
use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::random::{Random, keyed};

use self::combine::Cached;
use super::fault::out_of_range;

/// Samples by their index, from several threads at once.
///
/// `Vec` and slices are datasets, and so is a `Box` or `Arc` of one. A [`Loader`](super::Loader)
/// makes batches of it.
///
/// No method has the name of a method of `Vec` or of slices, except `len` and `is_empty`, which say
/// the same.
pub trait Dataset: Send + Sync {
    /// One sample.
    type Item;

    /// The number of samples. It does not change while a run uses the dataset.
    fn len(&self) -> usize;

    /// The sample at `index`, which is below [`len`](Self::len).
    ///
    /// Asked twice it gives the same sample. Random changes belong into
    /// [`Samples::transform`](super::Samples::transform), whose generator makes them repeatable.
    fn sample(&self, index: usize) -> Result<Self::Item, BoxError>;

    /// Its name in errors. Default: its type.
    fn name(&self) -> Cow<'_, str> {
        let full = std::any::type_name::<Self>();
        let path = full.split('<').next().unwrap_or(full);
        Cow::Borrowed(path.rsplit("::").next().unwrap_or(path))
    }

    /// Whether there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same samples, each changed by `f`.
    fn map<T, F: Fn(Self::Item) -> T + Send + Sync>(self, f: F) -> Mapped<Self, F>
    where
        Self: Sized,
    {
        Mapped { dataset: self, f }
    }

    /// The same samples, each changed by `f`, which may fail.
    fn try_map<T, F>(self, f: F) -> TryMapped<Self, F>
    where
        F: Fn(Self::Item) -> Result<T, BoxError> + Send + Sync,
        Self: Sized,
    {
        TryMapped { dataset: self, f }
    }

    /// Pairs of a sample of this and the one of `other` at the same index. Fails if their lengths
    /// differ.
    fn zip<B: Dataset>(self, other: B) -> Result<Zipped<Self, B>, BoxError>
    where
        Self: Sized,
    {
        Zipped::new(self, other)
    }

    /// The samples of this and then those of `others`, one dataset after another.
    fn concat_with(self, others: impl IntoIterator<Item = Self>) -> Concatenated<Self>
    where
        Self: Sized,
    {
        Concatenated::new(std::iter::once(self).chain(others).collect())
    }

    /// The samples at `indices`, in that order, as often as they are named. Fails if an index
    /// does not exist.
    fn subset(self, indices: impl Into<Vec<usize>>) -> Result<Subset<Self>, BoxError>
    where
        Self: Sized,
    {
        Subset::new(self, indices.into())
    }

    /// Parts of the given lengths, which share no sample, drawn at random by `seed`. Fails if
    /// the lengths do not sum to that of the dataset.
    ///
    /// ```
    /// use regimen::data::{Dataset, indices};
    /// # fn main() -> Result<(), regimen::BoxError> {
    /// let [train, test] = indices(1000).random_split([800, 200], 42)?;
    /// assert_eq!((train.len(), test.len()), (800, 200));
    /// # Ok(()) }
    /// ```
    fn random_split<const N: usize>(
        self,
        lengths: [usize; N],
        seed: u64,
    ) -> Result<[Subset<Arc<Self>>; N], BoxError>
    where
        Self: Sized,
    {
        Subset::split(self, lengths, seed)
    }

    /// The same samples, each kept in memory once it was read.
    fn cache(self) -> impl Dataset<Item = Self::Item>
    where
        Self: Sized,
        Self::Item: Clone + Send + Sync,
    {
        Cached::new(self)
    }

    /// The same samples under a name of your choice in errors.
    fn named(self, name: impl Into<String>) -> Named<Self>
    where
        Self: Sized,
    {
        Named::new(self, name.into())
    }
}

impl<T: Clone + Send + Sync> Dataset for [T] {
    type Item = T;

    fn len(&self) -> usize {
        self.len()
    }

    fn sample(&self, index: usize) -> Result<T, BoxError> {
        self.get(index).cloned().ok_or_else(|| out_of_range(self.len()))
    }

    fn name(&self) -> Cow<'_, str> {
        "slice".into()
    }
}

impl<T: Clone + Send + Sync> Dataset for Vec<T> {
    type Item = T;

    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn sample(&self, index: usize) -> Result<T, BoxError> {
        self.as_slice().sample(index)
    }

    fn name(&self) -> Cow<'_, str> {
        "vec".into()
    }
}

/// The numbers from 0 to below `len`, each its own sample.
///
/// For loaders that read samples by their index straight into a batch: see
/// [`Loader::collate_into`](super::Loader::collate_into).
pub fn indices(len: usize) -> impl Dataset<Item = usize> + Copy + std::fmt::Debug {
    Indices { len }
}

#[derive(Clone, Copy, Debug)]
struct Indices {
    len: usize,
}

impl Dataset for Indices {
    type Item = usize;

    fn len(&self) -> usize {
        self.len
    }

    fn sample(&self, index: usize) -> Result<usize, BoxError> {
        if index < self.len { Ok(index) } else { Err(out_of_range(self.len)) }
    }

    fn name(&self) -> Cow<'_, str> {
        "indices".into()
    }
}

macro_rules! pointers {
    ($([$($generics:tt)*] $target:ty, $pointer:ty;)*) => {$(
        impl<$($generics)*> Dataset for $pointer {
            type Item = <$target as Dataset>::Item;

            fn len(&self) -> usize {
                <$target as Dataset>::len(self)
            }

            fn sample(&self, index: usize) -> Result<Self::Item, BoxError> {
                <$target as Dataset>::sample(self, index)
            }

            fn name(&self) -> Cow<'_, str> {
                <$target as Dataset>::name(self)
            }
        }
    )*};
}
// Of references only those to slices: with `Dataset` in scope, `map` of a reference to an array
// would no longer be that of the array.
pointers! {
    [D: Dataset + ?Sized] D, Box<D>;
    [D: Dataset + ?Sized] D, Arc<D>;
    [T: Clone + Send + Sync] [T], &[T];
}

/// `len` samples made up by `make`, each by its own generator: the same sample at every access.
///
/// ```
/// use regimen::data::{Dataset, synthetic};
/// let noise = synthetic(100, |random| [random.normal(), random.normal()]);
/// assert_eq!(noise.sample(17).unwrap(), noise.sample(17).unwrap());
/// ```
pub fn synthetic<T, F: Fn(&mut Random) -> T + Send + Sync>(len: usize, make: F) -> impl Dataset<Item = T> {
    Synthetic { len, make }
}

struct Synthetic<F> {
    len: usize,
    make: F,
}

impl<T, F: Fn(&mut Random) -> T + Send + Sync> Dataset for Synthetic<F> {
    type Item = T;

    fn len(&self) -> usize {
        self.len
    }

    fn sample(&self, index: usize) -> Result<T, BoxError> {
        Ok((self.make)(&mut Random::new(keyed(0, "synthetic", 0, index as u64))))
    }

    fn name(&self) -> Cow<'_, str> {
        "synthetic".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_beyond_the_end_is_an_error() {
        fn check(dataset: impl Dataset) {
            let error = dataset.sample(3).err().unwrap();
            assert_eq!(error.to_string(), "it has 3 samples only");
        }
        check(vec![1, 2, 3]);
        check([1, 2, 3].as_slice());
        check(Arc::new(indices(3)));
    }

    #[test]
    fn errors_name_a_dataset_by_its_type_or_as_told() {
        assert_eq!(synthetic(9, |_| 0).name(), "synthetic");
        assert_eq!(vec![1].named("mnist").name(), "mnist");
    }
}
