//! Adaptors: data made of other data.

mod count;
mod cutmix;
mod first;
mod first_epoch;
mod map;
mod mixing;
mod mixup;
mod prefetch;
mod segm_cutmix;
mod take;
mod timed;
mod transform;

pub use cutmix::Cutmix;
pub use mixup::Mixup;
pub use segm_cutmix::SegmCutmix;
pub use timed::{Timed, Waiting};

use regimen_core::BoxError;
use regimen_core::data::{BlendSamples, Data, SampleArray};
use regimen_core::random::Random;

use self::count::CountSamples;
use self::first::FirstBatch;
use self::first_epoch::FirstEpoch;
use self::map::MapBatches;
use self::prefetch::Prefetch;
use self::take::TakeBatches;
use self::transform::TransformBatches;

/// Adaptors for all [`Data`], as iterators have them.
///
/// ```
/// use regimen::data::{DataExt, indices, Loader};
/// let train = Loader::new(indices(1000)).batch_size(10).take_batches(20).map_batches(|batch| batch.len());
/// ```
pub trait DataExt: Data + Sized {
    /// Limits every epoch to its first `batches` batches, of any size.
    fn take_batches(self, batches: u64) -> impl Data<Batch = Self::Batch> {
        TakeBatches::new(self, batches)
    }

    /// Gives the first batch of the first epoch again and again, as often as an epoch has batches: a model that is
    /// right can overfit it. Once per epoch if the number of batches is not known. Each is made anew.
    fn only_first_batch(self) -> impl Data<Batch = Self::Batch> {
        FirstBatch::new(self)
    }

    /// Gives the first `batches` batches of the first epoch in every epoch, in the same order and with the same random
    /// changes: a model that is right can overfit them.
    fn overfit_batches(self, batches: u64) -> impl Data<Batch = Self::Batch> {
        TakeBatches::new(FirstEpoch::new(self), batches)
    }

    /// Changes each batch by `f`, on the thread that asks for it.
    ///
    /// For random changes use [`transform_batches`](DataExt::transform_batches) or
    /// [`Samples::transform`](super::Samples::transform), whose generators make them repeatable.
    fn map_batches<B, F: Fn(Self::Batch) -> B>(self, f: F) -> impl Data<Batch = B> {
        MapBatches::new(self, f)
    }

    /// Changes each batch at random by `f`, on the thread that asks for it.
    ///
    /// `random` is keyed by (seed of the run, `stream`, epoch, number of the batch, rank): a resumed run draws the
    /// same. [`Loader::transform_batch`](super::Loader::transform_batch) does the same on its workers.
    fn transform_batches<B, F>(self, stream: &str, f: F) -> impl Data<Batch = B>
    where
        F: Fn(Self::Batch, &mut Random) -> Result<B, BoxError>,
    {
        TransformBatches::new(self, stream, f)
    }

    /// Mixes each batch by [`Mixup`]: inputs and targets.
    fn mixup<D, X: BlendSamples<D>, Y: BlendSamples<D>>(self, mixup: Mixup) -> impl Data<Batch = (X, Y)>
    where
        Self: Data<Batch = (X, Y)>,
    {
        self.transform_batches("mixup", move |batch, random| mixup.apply(batch, random))
    }

    /// Mixes each batch by [`Cutmix`]: images and targets.
    fn cutmix<D, X: SampleArray<D>, Y: BlendSamples<D>>(self, cutmix: Cutmix) -> impl Data<Batch = (X, Y)>
    where
        Self: Data<Batch = (X, Y)>,
    {
        self.transform_batches("cutmix", move |batch, random| cutmix.apply(batch, random))
    }

    /// Mixes each batch by [`SegmCutmix`]: images and masks.
    fn segm_cutmix<D, X: SampleArray<D>, Y: SampleArray<D>>(
        self,
        cutmix: SegmCutmix,
    ) -> impl Data<Batch = (X, Y)>
    where
        Self: Data<Batch = (X, Y)>,
    {
        self.transform_batches("segm cutmix", move |batch, random| cutmix.apply(batch, random))
    }

    /// Counts `samples(&batch)` samples per batch. Vectors and iterators of batches count one.
    ///
    /// Limits by samples, throughput and weighted averages of metrics follow this number.
    fn count_samples<F: Fn(&Self::Batch) -> u64>(self, samples: F) -> impl Data<Batch = Self::Batch> {
        CountSamples::new(self, samples)
    }

    /// Measures how long batches were waited for: see [`Timed::waiting`]. Give the run a reference
    /// to read it afterwards.
    fn timed(self) -> Timed<Self> {
        Timed::new(self)
    }

    /// Prefetches up to `batches` batches on a separate thread.
    ///
    /// The position travels with each batch, so a batch that was read ahead is not counted as
    /// consumed. A [`Loader`](super::Loader) already has workers; use
    /// [`Loader::workers`](super::Loader::workers) instead.
    fn read_ahead(self, batches: usize) -> impl Data<Batch = Self::Batch>
    where
        Self: Send + Sync + 'static,
        Self::Batch: Send + 'static,
    {
        Prefetch::new(self, batches)
    }
}

impl<D: Data> DataExt for D {}
