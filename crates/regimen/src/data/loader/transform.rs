//! Random changes of samples, keyed so that they can be repeated.

use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::random::Random;

use crate::data::Dataset;

/// Where a [`Loader`](crate::data::Loader) has its samples from: a dataset and what changes its samples.
pub trait Samples: Send + Sync {
    /// The dataset at the bottom.
    type Dataset: Dataset;
    /// What a sample has become.
    type Item;

    /// The dataset at the bottom.
    fn dataset(&self) -> &Self::Dataset;

    /// The sample at `index`, changed. `random` belongs to (seed, epoch, sample).
    fn draw(&self, index: usize, random: &mut Random) -> Result<Self::Item, BoxError>;
}

impl<D: Dataset> Samples for D {
    type Dataset = D;
    type Item = D::Item;

    fn dataset(&self) -> &D {
        self
    }

    fn draw(&self, index: usize, _: &mut Random) -> Result<D::Item, BoxError> {
        self.get(index)
    }
}

/// Made by [`Loader::transform`](crate::data::Loader::transform).
#[derive(Debug)]
pub struct Transformed<S, F> {
    pub(crate) samples: Arc<S>,
    pub(crate) f: F,
}

impl<S, T, F> Samples for Transformed<S, F>
where
    S: Samples,
    F: Fn(S::Item, &mut Random) -> T + Send + Sync,
{
    type Dataset = S::Dataset;
    type Item = T;

    fn dataset(&self) -> &S::Dataset {
        self.samples.dataset()
    }

    fn draw(&self, index: usize, random: &mut Random) -> Result<T, BoxError> {
        Ok((self.f)(self.samples.draw(index, random)?, random))
    }
}

/// Made by [`Loader::try_transform`](crate::data::Loader::try_transform).
#[derive(Debug)]
pub struct TryTransformed<S, F> {
    pub(crate) samples: Arc<S>,
    pub(crate) f: F,
}

impl<S, T, F> Samples for TryTransformed<S, F>
where
    S: Samples,
    F: Fn(S::Item, &mut Random) -> Result<T, BoxError> + Send + Sync,
{
    type Dataset = S::Dataset;
    type Item = T;

    fn dataset(&self) -> &S::Dataset {
        self.samples.dataset()
    }

    fn draw(&self, index: usize, random: &mut Random) -> Result<T, BoxError> {
        (self.f)(self.samples.draw(index, random)?, random)
    }
}
