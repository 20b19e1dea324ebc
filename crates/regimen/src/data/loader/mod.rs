//! The loader: batches of a dataset, in a keyed order, made by as many threads as you like.

pub(super) mod collate;
mod epoch;
mod permutation;
mod plan;
mod profile;
mod sampler;
pub(super) mod shard;
mod transform;
pub(super) mod worker;

pub use collate::{Collate, CollateInto, CollateWith, Collator, Pad, Padded, Stack, Stacked, TransformBatch};
pub use epoch::LoaderEpoch;
pub use permutation::Permutation;
pub use profile::{LoaderProfile, profile_loader};
pub use sampler::Sampler;
pub use transform::{Samples, Transformed, TryTransformed};

use std::sync::Arc;
use std::time::Duration;

use regimen_core::BoxError;
use regimen_core::data::{At, Data};
use regimen_core::random::{Random, keyed};
use regimen_core::text::Count;

use self::plan::Plan;
use self::shard::{From, Last, Shard};
use super::consumed::Consumed;
use super::dataset::Dataset;

/// Batches of a dataset: [`Data`] for a run.
///
/// What it gives is a pure function of (seed, epoch, position): the number of workers and what
/// they read ahead change nothing, and an epoch is entered at any batch at no cost. The seed is
/// the run's unless the loader has [its own](Loader::seed).
///
/// ```
/// use regimen::data::{At, Data, Epoch, Loader};
/// # fn main() -> Result<(), regimen::BoxError> {
/// let images = vec![([0.0_f32, 0.5], 1_u8), ([1.0, 0.5], 2), ([0.2, 0.1], 3)];
/// let loader = Loader::new(images)
///     .batch_size(2)
///     .shuffle()
///     .transform(|(image, label), random| (image.map(|pixel| pixel + random.uniform() as f32), label))
///     .workers(2);
/// let mut epoch = loader.epoch(At::epoch(0, 42))?;
/// while let Some(fetched) = epoch.next() {
///     let (images, labels) = fetched?.batch;
///     assert_eq!(images.len(), labels.len());
/// }
/// # Ok(()) }
/// ```
///
/// A setting that cannot be used is kept, and is the error of the first epoch.
#[derive(Debug)]
pub struct Loader<S, C = Stack> {
    samples: Arc<S>,
    collator: Arc<C>,
    settings: Settings,
}

#[derive(Clone, Debug)]
struct Settings {
    batch_size: u64,
    sampler: Sampler,
    last: Last,
    workers: usize,
    prefetch: Option<usize>,
    seed: Option<u64>,
    stream: String,
    skip_bad_samples: bool,
    slow: Duration,
    /// The first setting that cannot be used.
    refused: Option<String>,
}

impl<D: Dataset> Loader<D> {
    /// Batches of one sample of `dataset`, in its order, made on the thread that asks for them.
    pub fn new(dataset: D) -> Self {
        let settings = Settings {
            batch_size: 1,
            sampler: Sampler::sequential(),
            last: Last::Short,
            workers: 0,
            prefetch: None,
            seed: None,
            stream: "data".into(),
            skip_bad_samples: false,
            slow: Duration::from_secs(30),
            refused: None,
        };
        Loader { samples: Arc::new(dataset), collator: Arc::new(Stack), settings }
    }
}

/// Which samples, and how many at a time.
impl<S, C> Loader<S, C> {
    /// Samples a batch, over all ranks together. Default 1; zero is an error.
    ///
    /// Each of `n` ranks takes an n-th of every batch, so what a run sees does not depend on how
    /// many there are, and it can go on with another number of them. It can go on with another
    /// batch size too: inside an epoch at the same sample, of which a notice tells.
    pub fn batch_size(mut self, samples: usize) -> Self {
        if samples == 0 {
            self.settings.refused.get_or_insert_with(|| "a batch size of 0 cannot be used".into());
        }
        self.settings.batch_size = samples.max(1) as u64;
        self
    }

    /// Every sample once an epoch, in another order every epoch.
    pub fn shuffle(self) -> Self {
        self.sampler(Sampler::shuffled())
    }

    /// Which samples an epoch takes, and in what order. Default [`Sampler::sequential`].
    pub fn sampler(mut self, sampler: Sampler) -> Self {
        self.settings.sampler = sampler;
        self
    }

    /// Leaves out a last batch that is smaller than the others. By default it is given.
    pub fn drop_last(mut self) -> Self {
        self.settings.last = Last::Drop;
        self
    }

    /// Fills the last batch up with samples of weight zero, and the share of every rank to the
    /// same size: all batches have one shape. They come as [`Padded`](super::Padded), which says
    /// how many samples count.
    pub fn pad_last(mut self) -> Loader<S, Pad<Arc<C>>> {
        self.settings.last = Last::Pad;
        self.collated(Pad)
    }

    /// The seed of this loader, whatever the run's.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// The name of the stream of random choices. Default `data`.
    ///
    /// Two loaders of one seed and one name shuffle alike; give another name to one of them where
    /// they must not.
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.settings.stream = name.into();
        self
    }

    fn collated<N>(self, wrap: impl FnOnce(Arc<C>) -> N) -> Loader<S, N> {
        let Loader { samples, collator, settings } = self;
        Loader { samples, collator: Arc::new(wrap(collator)), settings }
    }
}

/// Who does the work, and what happens when it goes wrong.
impl<S, C> Loader<S, C> {
    /// Threads that make batches. Default 0: they are made on the thread that asks.
    ///
    /// No thread outlives its epoch, and none is ever killed: the end of an epoch waits for the
    /// sample in hand.
    pub fn workers(mut self, threads: usize) -> Self {
        self.settings.workers = threads;
        self
    }

    /// Finished batches that may wait to be asked for, over all workers. Default 2 a worker.
    ///
    /// At most `workers + prefetch` batches are in memory, besides the one in use. Without
    /// workers nothing is read ahead.
    pub fn prefetch(mut self, batches: usize) -> Self {
        self.settings.prefetch = Some(batches);
        self
    }

    /// Passes over samples that cannot be had, or whose transform fails or panics. By default
    /// they are errors.
    ///
    /// Each is told by a notice of the run, with how many there were in the epoch. The batch is
    /// smaller by it; a batch of which nothing is left is an error all the same, and so is a
    /// sample that does not fit its batch.
    pub fn skip_bad_samples(mut self) -> Self {
        self.settings.skip_bad_samples = true;
        self
    }

    /// From how long a wait for one batch becomes a notice of the run, which names the worker and
    /// its sample. Default 30 seconds. The notice is there when the batch is.
    pub fn slow_after(mut self, bound: Duration) -> Self {
        self.settings.slow = bound;
        self
    }
}

/// What samples and batches become.
impl<S: Samples, C> Loader<S, C> {
    /// Changes every sample, on the worker that has it. The place for augmentation.
    ///
    /// `random` is keyed by (seed, stream, epoch, sample): what it draws depends neither on the
    /// order nor on the workers. Transforms given one after another share it.
    pub fn transform<T, F>(self, f: F) -> Loader<Transformed<S, F>, C>
    where
        F: Fn(S::Item, &mut Random) -> T + Send + Sync,
    {
        let Loader { samples, collator, settings } = self;
        Loader { samples: Arc::new(Transformed { samples, f }), collator, settings }
    }

    /// As [`transform`](Self::transform), for a change that may fail.
    pub fn try_transform<T, F>(self, f: F) -> Loader<TryTransformed<S, F>, C>
    where
        F: Fn(S::Item, &mut Random) -> Result<T, BoxError> + Send + Sync,
    {
        let Loader { samples, collator, settings } = self;
        Loader { samples: Arc::new(TryTransformed { samples, f }), collator, settings }
    }

    /// Makes batches by `f`, of all samples of one. By default [`Collate`](super::Collate) says how.
    pub fn collate<B, F>(self, f: F) -> Loader<S, CollateWith<F>>
    where
        F: Fn(Vec<S::Item>) -> Result<B, BoxError> + Send + Sync,
    {
        self.collated(|_| CollateWith(f))
    }

    /// Makes batches by writing each sample to its place: the fast way, which copies nothing
    /// twice and allocates what `begin` does.
    ///
    /// `begin` makes an empty batch with room for so many samples; `push` adds one, and may draw
    /// from the generator of the sample.
    ///
    /// ```
    /// # use regimen::data::{Loader, indices};
    /// let pixels: Vec<u8> = vec![7; 28 * 28 * 100];
    /// let loader = Loader::new(indices(100)).batch_size(10).collate_into(
    ///     |samples| Vec::with_capacity(samples * 28 * 28),
    ///     move |batch: &mut Vec<f32>, index, _| {
    ///         let image = &pixels[index * 28 * 28..][..28 * 28];
    ///         batch.extend(image.iter().map(|&pixel| f32::from(pixel) / 255.0));
    ///         Ok(())
    ///     },
    /// );
    /// ```
    pub fn collate_into<B, N, F>(self, begin: N, push: F) -> Loader<S, CollateInto<N, F>>
    where
        N: Fn(usize) -> B + Send + Sync,
        F: Fn(&mut B, S::Item, &mut Random) -> Result<(), BoxError> + Send + Sync,
    {
        self.collated(|_| CollateInto { begin, push })
    }

    /// Changes every batch, on the worker that made it. The place for Mixup and CutMix.
    ///
    /// `random` is keyed by (seed, stream, epoch, number of the batch, rank).
    pub fn transform_batch<B, F>(self, f: F) -> Loader<S, TransformBatch<Arc<C>, F>>
    where
        C: Collator<S::Item>,
        F: Fn(C::Batch, &mut Random) -> B + Send + Sync,
    {
        self.collated(|collator| TransformBatch { collator, transform: f })
    }
}

impl<S, C> Data for Loader<S, C>
where
    S: Samples + 'static,
    C: Collator<S::Item> + 'static,
    C::Batch: Send + 'static,
{
    type Batch = C::Batch;
    type Epoch<'a> = LoaderEpoch<C::Batch>;

    fn epoch(&self, at: At<'_>) -> Result<LoaderEpoch<C::Batch>, BoxError> {
        let Settings { batch_size, last, workers, .. } = self.settings;
        let dataset = self.samples.dataset();
        let name = dataset.name().into_owned();
        let fail = |what: String| -> BoxError { format!("dataset `{name}`: {what}").into() };
        if let Some(refused) = &self.settings.refused {
            return Err(fail(refused.clone()));
        }
        let len = dataset.len();
        let draws = self.settings.sampler.draws(len);
        if len == 0 || draws == 0 {
            return Err(fail(format!(
                "there is nothing to load: {}, {draws} of them drawn",
                Count(len as u64, "sample")
            )));
        }
        let batches = Shard::batches(draws, batch_size, last);
        if batches == 0 {
            return Err(fail(format!(
                "{} cannot fill a batch of {batch_size}, and it is dropped",
                Count(draws, "sample")
            )));
        }
        if at.position.is_none() && batches < at.skip {
            let skip = at.skip;
            let has = Count(batches, "batch");
            return Err(fail(format!("{skip} batches were consumed of an epoch that has {has}")));
        }
        let consumed = Consumed::at(at, draws, batch_size).map_err(|error| fail(error.to_string()))?;
        let from = From { batches: at.skip, samples: consumed.samples };
        let seed = keyed(self.settings.seed.unwrap_or(at.seed), &self.settings.stream, 0, 0);
        let order =
            self.settings.sampler.order(len, seed, at.epoch).map_err(|error| fail(error.to_string()))?;
        let shard =
            Shard::new(draws, batch_size, last, at.rank, from).map_err(|error| fail(error.to_string()))?;
        let plan = Plan {
            dataset: name.clone(),
            samples: self.samples.clone(),
            collator: self.collator.clone(),
            len,
            order,
            shard,
            rank: at.rank,
            seed,
            epoch: at.epoch,
            skip_bad_samples: self.settings.skip_bad_samples,
        };
        let prefetch = self.settings.prefetch.unwrap_or(workers.saturating_mul(2));
        let slow = self.settings.slow;
        let numbers = shard.numbers();
        let mut epoch = LoaderEpoch::new(name.clone(), Arc::new(plan), numbers, workers, prefetch, slow)?;
        for notice in consumed.notices(draws, batch_size) {
            epoch.notify(format!("dataset `{name}`: {notice}"));
        }
        if draws < batch_size && at.skip == 0 {
            epoch.notify(format!(
                "dataset `{name}`: {} cannot fill a batch of {batch_size}",
                Count(draws, "sample")
            ));
        }
        Ok(epoch)
    }

    fn batches(&self) -> Option<u64> {
        let Settings { batch_size, last, ref sampler, .. } = self.settings;
        Some(Shard::batches(sampler.draws(self.samples.dataset().len()), batch_size, last))
    }
}
