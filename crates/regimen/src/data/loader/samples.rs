//! Samples with random changes, keyed so that they can be repeated.

use regimen_core::BoxError;
use regimen_core::random::Random;

use crate::data::Dataset;

/// The samples of a [`Loader`](crate::data::Loader): a dataset and the random changes of its
/// samples. Every [`Dataset`] is `Samples` without changes.
///
/// ```
/// use regimen::data::{Loader, Samples};
/// let images = vec![[0.0_f32, 0.5], [1.0, 0.5], [0.2, 0.1]];
/// let noisy = images.transform(|image, random| image.map(|pixel| pixel + random.uniform() as f32));
/// let loader = Loader::new(noisy).batch_size(2).shuffle();
/// ```
pub trait Samples: Send + Sync {
    /// One sample, changed.
    type Item;

    /// The dataset below all changes.
    fn dataset(&self) -> &impl Dataset;

    /// The sample at `index`, changed. `random` belongs to (seed, epoch, sample).
    fn draw(&self, index: usize, random: &mut Random) -> Result<Self::Item, BoxError>;

    /// Changes every sample, on the worker that reads it: the place for augmentation.
    ///
    /// `random` is keyed by (seed, stream, epoch, index), so its draws depend neither on the order nor
    /// on the workers. Transforms given one after another share it.
    fn transform<T, F>(self, f: F) -> impl Samples<Item = T>
    where
        F: Fn(Self::Item, &mut Random) -> T + Send + Sync,
        Self: Sized,
    {
        Transformed { samples: self, f }
    }

    /// Changes every sample, as [`transform`](Self::transform) does, by a function that may fail.
    fn try_transform<T, F>(self, f: F) -> impl Samples<Item = T>
    where
        F: Fn(Self::Item, &mut Random) -> Result<T, BoxError> + Send + Sync,
        Self: Sized,
    {
        TryTransformed { samples: self, f }
    }
}

impl<D: Dataset> Samples for D {
    type Item = D::Item;

    fn dataset(&self) -> &impl Dataset {
        self
    }

    fn draw(&self, index: usize, _: &mut Random) -> Result<D::Item, BoxError> {
        self.sample(index)
    }
}

struct Transformed<S, F> {
    samples: S,
    f: F,
}

impl<S, T, F> Samples for Transformed<S, F>
where
    S: Samples,
    F: Fn(S::Item, &mut Random) -> T + Send + Sync,
{
    type Item = T;

    fn dataset(&self) -> &impl Dataset {
        self.samples.dataset()
    }

    fn draw(&self, index: usize, random: &mut Random) -> Result<T, BoxError> {
        Ok((self.f)(self.samples.draw(index, random)?, random))
    }
}

struct TryTransformed<S, F> {
    samples: S,
    f: F,
}

impl<S, T, F> Samples for TryTransformed<S, F>
where
    S: Samples,
    F: Fn(S::Item, &mut Random) -> Result<T, BoxError> + Send + Sync,
{
    type Item = T;

    fn dataset(&self) -> &impl Dataset {
        self.samples.dataset()
    }

    fn draw(&self, index: usize, random: &mut Random) -> Result<T, BoxError> {
        (self.f)(self.samples.draw(index, random)?, random)
    }
}
