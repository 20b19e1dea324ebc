//! Datasets: samples that can be had by their index.

mod combine;
pub(super) mod files;
mod subset;

pub use combine::{Cached, Concat, Mapped, Named, TryMapped, Zip, concat};
#[cfg(feature = "images")]
pub use files::ImageFolder;
pub use files::{Csv, Idx};
#[cfg(feature = "mmap")]
pub use files::{TokenFile, TokenWidth, Windows};
pub use subset::Subset;

use std::borrow::Cow;
use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::random::{Random, keyed};
use regimen_core::text::Count;

/// Samples that can be had by their index, from several threads at once.
///
/// `Vec` and slices are datasets, and so is a `Box` or `Arc` of one. A [`Loader`](super::Loader)
/// makes batches of it.
///
/// Where this trait is in scope, `vec.get(i)` is the dataset's; `vec.as_slice().get(i)` the slice's.
pub trait Dataset: Send + Sync {
    /// One sample.
    type Item;

    /// How many samples there are. It does not change while a run uses the dataset.
    fn len(&self) -> usize;

    /// The sample at `index`, which is below [`len`](Self::len).
    ///
    /// Asked twice it gives the same sample. Random changes belong into
    /// [`Loader::transform`](super::Loader::transform), which has a generator that makes them
    /// repeatable.
    fn get(&self, index: usize) -> Result<Self::Item, BoxError>;

    /// What errors call it: by default its type.
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

    /// Pairs of a sample of this and the one of `other` at the same index. Fails where the two
    /// are not of one length.
    fn zip<B: Dataset>(self, other: B) -> Result<Zip<Self, B>, BoxError>
    where
        Self: Sized,
    {
        Zip::new(self, other)
    }

    /// The samples at `indices`, in that order, as often as they are named. Fails where an index
    /// does not exist.
    fn subset(self, indices: impl Into<Vec<usize>>) -> Result<Subset<Self>, BoxError>
    where
        Self: Sized,
    {
        Subset::new(self, indices.into())
    }

    /// Parts of the given lengths, which share no sample, drawn at random by `seed`. Fails where
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

    /// The same samples, each kept in memory once it was had.
    fn cache(self) -> Cached<Self>
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

/// `dataset` and the name of a sample of it, as errors begin.
pub(crate) fn place(dataset: &(impl Dataset + ?Sized), index: usize) -> String {
    format!("dataset `{}` sample {index}", dataset.name())
}

/// The error of an index that does not exist.
pub(crate) fn beyond(len: usize) -> BoxError {
    format!("it has {} only", Count(len as u64, "sample")).into()
}

impl<T: Clone + Send + Sync> Dataset for [T] {
    type Item = T;

    fn len(&self) -> usize {
        self.len()
    }

    fn get(&self, index: usize) -> Result<T, BoxError> {
        <[T]>::get(self, index).cloned().ok_or_else(|| beyond(self.len()))
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

    fn get(&self, index: usize) -> Result<T, BoxError> {
        Dataset::get(self.as_slice(), index)
    }

    fn name(&self) -> Cow<'_, str> {
        "vec".into()
    }
}

/// The numbers from 0 to below `len`, each its own sample.
///
/// For what reads samples by their index straight into a batch: see
/// [`Loader::collate_into`](super::Loader::collate_into).
pub fn indices(len: usize) -> Indices {
    Indices { len }
}

/// A dataset made by [`indices`].
#[derive(Clone, Copy, Debug)]
pub struct Indices {
    len: usize,
}

impl Dataset for Indices {
    type Item = usize;

    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize) -> Result<usize, BoxError> {
        if index < self.len { Ok(index) } else { Err(beyond(self.len)) }
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

            fn get(&self, index: usize) -> Result<Self::Item, BoxError> {
                <$target as Dataset>::get(self, index)
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
/// assert_eq!(noise.get(17).unwrap(), noise.get(17).unwrap());
/// ```
pub fn synthetic<T, F: Fn(&mut Random) -> T + Send + Sync>(len: usize, make: F) -> Synthetic<F> {
    Synthetic { len, make }
}

/// A dataset made by [`synthetic`].
#[derive(Clone, Debug)]
pub struct Synthetic<F> {
    len: usize,
    make: F,
}

impl<T, F: Fn(&mut Random) -> T + Send + Sync> Dataset for Synthetic<F> {
    type Item = T;

    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize) -> Result<T, BoxError> {
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
            let error = dataset.get(3).err().unwrap();
            assert_eq!(error.to_string(), "it has 3 samples only");
        }
        check(vec![1, 2, 3]);
        check([1, 2, 3].as_slice());
        check(Arc::new(indices(3)));
    }

    #[test]
    fn errors_name_a_dataset_by_its_type_or_as_told() {
        assert_eq!(place(&synthetic(9, |_| 0), 3), "dataset `synthetic` sample 3");
        assert_eq!(place(&vec![1].named("mnist"), 0), "dataset `mnist` sample 0");
    }
}
