//! Datasets under a name.

use std::borrow::Cow;

use regimen_core::BoxError;

use super::Dataset;

/// Made by [`Dataset::named`].
#[derive(Clone, Debug)]
pub struct Named<D> {
    dataset: D,
    name: String,
}

impl<D> Named<D> {
    pub(crate) fn new(dataset: D, name: String) -> Self {
        Named { dataset, name }
    }

    /// The dataset without the name.
    pub fn into_inner(self) -> D {
        self.dataset
    }
}

impl<D: Dataset> Dataset for Named<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn sample(&self, index: usize) -> Result<D::Item, BoxError> {
        self.dataset.sample(index)
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }
}
