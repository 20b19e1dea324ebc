//! Combinators: datasets made of other datasets.

use std::borrow::Cow;
use std::sync::OnceLock;

use regimen_core::BoxError;
use regimen_core::text::Count;

use super::Dataset;
use crate::data::fault::{SampleError, out_of_range};

/// Made by [`Dataset::map`].
#[derive(Clone, Debug)]
pub struct Mapped<D, F> {
    pub(crate) dataset: D,
    pub(crate) f: F,
}

impl<D: Dataset, T, F: Fn(D::Item) -> T + Send + Sync> Dataset for Mapped<D, F> {
    type Item = T;

    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn sample(&self, index: usize) -> Result<T, BoxError> {
        Ok((self.f)(self.dataset.sample(index)?))
    }

    fn name(&self) -> Cow<'_, str> {
        self.dataset.name()
    }
}

/// Made by [`Dataset::try_map`].
#[derive(Clone, Debug)]
pub struct TryMapped<D, F> {
    pub(crate) dataset: D,
    pub(crate) f: F,
}

impl<D, T, F> Dataset for TryMapped<D, F>
where
    D: Dataset,
    F: Fn(D::Item) -> Result<T, BoxError> + Send + Sync,
{
    type Item = T;

    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn sample(&self, index: usize) -> Result<T, BoxError> {
        (self.f)(self.dataset.sample(index)?)
    }

    fn name(&self) -> Cow<'_, str> {
        self.dataset.name()
    }
}

/// Made by [`Dataset::zip`].
#[derive(Clone, Debug)]
pub struct Zipped<A, B> {
    a: A,
    b: B,
}

impl<A: Dataset, B: Dataset> Zipped<A, B> {
    pub(crate) fn new(a: A, b: B) -> Result<Self, BoxError> {
        if a.len() != b.len() {
            return Err(format!(
                "dataset `{}` of {} and dataset `{}` of {} make no pairs",
                a.name(),
                Count(a.len() as u64, "sample"),
                b.name(),
                b.len()
            )
            .into());
        }
        Ok(Zipped { a, b })
    }
}

impl<A: Dataset, B: Dataset> Dataset for Zipped<A, B> {
    type Item = (A::Item, B::Item);

    fn len(&self) -> usize {
        self.a.len()
    }

    fn sample(&self, index: usize) -> Result<Self::Item, BoxError> {
        Ok((self.a.sample(index)?, self.b.sample(index)?))
    }

    fn name(&self) -> Cow<'_, str> {
        self.a.name()
    }
}

/// Made by [`Dataset::concat_with`].
#[derive(Clone, Debug)]
pub struct Concatenated<D> {
    datasets: Vec<D>,
    /// The number of samples up to the end of each dataset.
    ends: Vec<usize>,
}

impl<D: Dataset> Concatenated<D> {
    pub(crate) fn new(datasets: Vec<D>) -> Self {
        let ends = datasets.iter().scan(0, |end, dataset| {
            *end += dataset.len();
            Some(*end)
        });
        Concatenated { ends: ends.collect(), datasets }
    }
}

impl<D: Dataset> Dataset for Concatenated<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or_default()
    }

    fn sample(&self, index: usize) -> Result<D::Item, BoxError> {
        let part = self.ends.partition_point(|&end| end <= index);
        let dataset = self.datasets.get(part).ok_or_else(|| out_of_range(self.len()))?;
        let start = if part == 0 { 0 } else { self.ends[part - 1] };
        dataset
            .sample(index - start)
            .map_err(|error| SampleError::new(dataset.name(), index - start, error).into())
    }

    fn name(&self) -> Cow<'_, str> {
        "concat".into()
    }
}

/// Made by [`Dataset::cache`].
///
/// Reading a sample that is kept takes no lock. Two threads may both have a sample for the first
/// time; one of the two is kept.
pub(crate) struct Cached<D: Dataset> {
    dataset: D,
    samples: Vec<OnceLock<D::Item>>,
}

impl<D: Dataset> Cached<D> {
    pub(crate) fn new(dataset: D) -> Self {
        Cached { samples: (0..dataset.len()).map(|_| OnceLock::new()).collect(), dataset }
    }
}

impl<D> Dataset for Cached<D>
where
    D: Dataset,
    D::Item: Clone + Send + Sync,
{
    type Item = D::Item;

    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn sample(&self, index: usize) -> Result<D::Item, BoxError> {
        let sample = self.samples.get(index).ok_or_else(|| out_of_range(self.len()))?;
        if let Some(sample) = sample.get() {
            return Ok(sample.clone());
        }
        let fresh = self.dataset.sample(index)?;
        Ok(sample.get_or_init(|| fresh).clone())
    }

    fn name(&self) -> Cow<'_, str> {
        self.dataset.name()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::indices;
    use super::*;

    fn all<D: Dataset>(dataset: &D) -> Vec<D::Item> {
        (0..dataset.len()).map(|index| dataset.sample(index).unwrap()).collect()
    }

    #[test]
    fn samples_of_all_datasets_come_one_after_another() {
        assert_eq!(all(&vec![0, 1].concat_with([vec![], vec![7, 8]])), [0, 1, 7, 8]);
        assert_eq!(all(&vec![0, 1].concat_with([])), [0, 1]);
    }

    #[test]
    fn an_error_names_the_part_that_failed() {
        let part = |name| {
            indices(3).try_map(|index| if index == 1 { Err("torn".into()) } else { Ok(index) }).named(name)
        };
        let error = part("a").concat_with([part("b")]).sample(4).unwrap_err();
        assert_eq!(error.to_string(), "dataset `b` sample 1: torn");
    }

    #[test]
    fn datasets_of_two_lengths_make_no_pairs() {
        assert_eq!(all(&indices(2).zip(vec!['a', 'b']).unwrap()), [(0, 'a'), (1, 'b')]);
        let error = indices(2).named("x").zip(vec!['a'].named("y")).err().unwrap();
        assert_eq!(error.to_string(), "dataset `x` of 2 samples and dataset `y` of 1 make no pairs");
    }

    #[test]
    fn a_cached_sample_is_had_once_and_an_error_is_not_kept() {
        let calls = AtomicUsize::new(0);
        let cached = indices(2)
            .try_map(|index| match calls.fetch_add(1, Ordering::Relaxed) {
                0 => Err("busy".into()),
                _ => Ok(index),
            })
            .cache();
        assert!(cached.sample(1).is_err());
        assert_eq!((cached.sample(1).unwrap(), cached.sample(1).unwrap()), (1, 1));
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }
}
