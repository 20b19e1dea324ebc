//! Parts of a dataset.

use std::borrow::Cow;
use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::text::Count;

use super::Dataset;
use crate::data::fault::out_of_range;
use crate::data::permutation::Permutation;

/// Some samples of a dataset: made by [`Dataset::subset`] and [`Dataset::random_split`].
#[derive(Clone, Debug)]
pub struct Subset<D> {
    dataset: D,
    indices: Chosen,
}

#[derive(Clone, Debug)]
enum Chosen {
    Listed(Vec<usize>),
    /// Positions of a shuffled order: a split of any size takes no memory.
    Drawn {
        order: Permutation,
        start: usize,
        len: usize,
    },
}

impl<D: Dataset> Subset<D> {
    pub(crate) fn new(dataset: D, indices: Vec<usize>) -> Result<Self, BoxError> {
        match indices.iter().find(|&&index| index >= dataset.len()) {
            Some(index) => Err(format!(
                "sample {index} of dataset `{}`: {}",
                dataset.name(),
                out_of_range(dataset.len())
            )
            .into()),
            None => Ok(Subset { dataset, indices: Chosen::Listed(indices) }),
        }
    }

    pub(crate) fn split<const N: usize>(
        dataset: D,
        lengths: [usize; N],
        seed: u64,
    ) -> Result<[Subset<Arc<D>>; N], BoxError> {
        let sum = lengths.iter().try_fold(0_usize, |sum, &length| sum.checked_add(length));
        if sum != Some(dataset.len()) {
            let (name, len) = (dataset.name(), dataset.len());
            return Err(format!(
                "lengths {lengths:?} do not sum to the {} of dataset `{name}`",
                Count(len as u64, "sample")
            )
            .into());
        }
        let order = Permutation::new(dataset.len() as u64, seed);
        let dataset = Arc::new(dataset);
        let mut start = 0;
        Ok(lengths.map(|length| {
            let indices = Chosen::Drawn { order: order.clone(), start, len: length };
            start += length;
            Subset { dataset: dataset.clone(), indices }
        }))
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        match &self.indices {
            Chosen::Listed(indices) => indices.len(),
            Chosen::Drawn { len, .. } => *len,
        }
    }

    fn sample(&self, index: usize) -> Result<D::Item, BoxError> {
        if index >= self.len() {
            return Err(out_of_range(self.len()));
        }
        let index = match &self.indices {
            Chosen::Listed(indices) => indices[index],
            Chosen::Drawn { order, start, .. } => order.index((start + index) as u64) as usize,
        };
        self.dataset.sample(index)
    }

    fn name(&self) -> Cow<'_, str> {
        self.dataset.name()
    }
}

#[cfg(test)]
mod tests {
    use super::super::indices;
    use super::*;

    fn all(dataset: &impl Dataset<Item = usize>) -> Vec<usize> {
        (0..dataset.len()).map(|index| dataset.sample(index).unwrap()).collect()
    }

    #[test]
    fn a_subset_has_the_samples_named_in_that_order() {
        assert_eq!(all(&indices(10).subset([3, 0, 3]).unwrap()), [3, 0, 3]);
        let error = indices(10).subset([3, 10]).unwrap_err();
        assert_eq!(error.to_string(), "sample 10 of dataset `indices`: it has 10 samples only");
    }

    #[test]
    fn the_parts_of_a_split_have_every_sample_once() {
        let [a, b, c] = indices(1000).random_split([700, 0, 300], 42).unwrap();
        assert!(b.is_empty());
        let mut seen = [all(&a), all(&c)].concat();
        assert!(!seen.is_sorted());
        seen.sort();
        assert!(seen.into_iter().eq(0..1000));
    }

    #[test]
    fn lengths_that_do_not_sum_are_refused() {
        for lengths in [[1, 1], [usize::MAX, 4]] {
            let error = indices(3).random_split(lengths, 42).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("lengths {lengths:?} do not sum to the 3 samples of dataset `indices`")
            );
        }
    }
}
