//! The loader: batches of a dataset, in a keyed order, on any number of threads.

mod assemble;
pub(super) mod collate;
mod epoch;
mod plan;
mod profile;
mod sampler;
mod samples;
pub(super) mod shard;
pub(super) mod worker;

pub use collate::{Collate, Padded, Stacked};
pub use profile::{LoaderProfile, profile_loader};
pub use sampler::Sampler;
pub use samples::Samples;

use std::sync::Arc;
use std::time::Duration;

use regimen_core::BoxError;
use regimen_core::data::{At, Data, Epoch};
use regimen_core::random::{Random, keyed};
use regimen_core::text::Count;

use self::assemble::{Assemble, Assembly, Pad, TransformBatch};
use self::collate::{CollateInto, CollateWith, Collator, Stack};
use self::epoch::LoaderEpoch;
use self::plan::Plan;
use self::shard::{LastBatch, Shard, Start};
use super::consumed::Consumed;

/// Batches of a dataset: [`Data`] for a run.
///
/// Its batches are a pure function of (seed, epoch, position). Workers and prefetch change nothing,
/// and an epoch is entered at any batch at no cost. The seed is the run's unless the loader has
/// [its own](Loader::seed).
///
/// The batch is its one type parameter, so a function that returns a loader, or a struct that holds
/// one, writes `Loader<Batch>`.
///
/// ```
/// use regimen::data::{At, Data, Epoch, Loader, Samples};
/// # fn main() -> Result<(), regimen::BoxError> {
/// let images = vec![([0.0_f32, 0.5], 1_u8), ([1.0, 0.5], 2), ([0.2, 0.1], 3)];
/// let images = images
///     .transform(|(image, label), random| (image.map(|pixel| pixel + random.uniform() as f32), label));
/// let loader = Loader::new(images).batch_size(2).shuffle().workers(2);
/// let mut epoch = loader.epoch(At::epoch(0, 42))?;
/// while let Some(fetched) = epoch.next() {
///     let (images, labels) = fetched?.batch;
///     assert_eq!(images.len(), labels.len());
/// }
/// # Ok(()) }
/// ```
///
/// A setting that cannot be used is kept, and is the error of the first epoch.
pub struct Loader<B> {
    assemble: Arc<dyn Assemble<B>>,
    settings: Settings,
}

#[derive(Clone, Debug)]
struct Settings {
    batch_size: u64,
    sampler: Sampler,
    last: LastBatch,
    workers: usize,
    prefetch: Option<usize>,
    seed: Option<u64>,
    stream: String,
    skip_bad_samples: bool,
    slow: Duration,
    /// The first setting that cannot be used.
    refused: Option<String>,
}

impl<B: Send + 'static> Loader<B> {
    /// Batches of one sample of `samples`, in their order, made on the thread that asks for them.
    /// [`Collate`] says which batch samples make.
    ///
    /// Every [`Dataset`](super::Dataset) is [`Samples`].
    pub fn new<S>(samples: S) -> Self
    where
        S: Samples + 'static,
        S::Item: Collate<Batch = B>,
    {
        Loader::collated(samples, Stack)
    }

    /// Batches by `f`, which is given all samples of a batch.
    pub fn collate<S, F>(samples: S, f: F) -> Self
    where
        S: Samples + 'static,
        F: Fn(Vec<S::Item>) -> Result<B, BoxError> + Send + Sync + 'static,
    {
        Loader::collated(samples, CollateWith(f))
    }

    /// Batches to which samples are added one by one: the fast way, which copies nothing twice
    /// and allocates only what `begin` does.
    ///
    /// `begin` makes an empty batch with room for so many samples; `add` adds one, and may draw
    /// from the generator of the sample.
    ///
    /// ```
    /// # use regimen::data::{Loader, indices};
    /// let pixels: Vec<u8> = vec![7; 28 * 28 * 100];
    /// let loader = Loader::collate_into(
    ///     indices(100),
    ///     |samples| Vec::with_capacity(samples * 28 * 28),
    ///     move |batch: &mut Vec<f32>, index, _| {
    ///         let image = &pixels[index * 28 * 28..][..28 * 28];
    ///         batch.extend(image.iter().map(|&pixel| f32::from(pixel) / 255.0));
    ///         Ok(())
    ///     },
    /// )
    /// .batch_size(10);
    /// ```
    pub fn collate_into<S, N, F>(samples: S, begin: N, add: F) -> Self
    where
        S: Samples + 'static,
        N: Fn(usize) -> B + Send + Sync + 'static,
        F: Fn(&mut B, S::Item, &mut Random) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        Loader::collated(samples, CollateInto { begin, add })
    }

    fn collated<S, C>(samples: S, collator: C) -> Self
    where
        S: Samples + 'static,
        C: Collator<S::Item, Batch = B> + 'static,
    {
        let settings = Settings {
            batch_size: 1,
            sampler: Sampler::sequential(),
            last: LastBatch::Short,
            workers: 0,
            prefetch: None,
            seed: None,
            stream: "data".into(),
            skip_bad_samples: false,
            slow: Duration::from_secs(30),
            refused: None,
        };
        Loader { assemble: Arc::new(Assembly { samples, collator }), settings }
    }

    /// Changes every batch, on the worker that made it. [`Mixup`](super::Mixup) and [`Cutmix`](super::Cutmix) are
    /// adaptors of any data.
    ///
    /// `random` is keyed by (seed, stream, epoch, number of the batch, rank).
    pub fn transform_batch<T, F>(self, f: F) -> Loader<T>
    where
        F: Fn(B, &mut Random) -> T + Send + Sync + 'static,
    {
        Loader { assemble: Arc::new(TransformBatch { inner: self.assemble, f }), settings: self.settings }
    }

    /// Fills the last batch up with samples of weight zero, and the share of every rank to the
    /// same size, so that all batches have one shape. They come as [`Padded`], which says how many
    /// samples count.
    pub fn pad_last(mut self) -> Loader<Padded<B>> {
        self.settings.last = LastBatch::Pad;
        Loader { assemble: Arc::new(Pad(self.assemble)), settings: self.settings }
    }
}

/// Samples and batch sizes.
impl<B> Loader<B> {
    /// Samples per batch, summed over all ranks. Default: 1; zero is an error.
    ///
    /// Each of `n` ranks takes an n-th of every batch, so the batches of a run do not depend on the
    /// number of ranks, and it can continue with another number. It can continue with another
    /// batch size too: inside an epoch at the same sample, with a notice.
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

    /// The samples of an epoch, and their order. Default: [`Sampler::sequential`].
    pub fn sampler(mut self, sampler: Sampler) -> Self {
        self.settings.sampler = sampler;
        self
    }

    /// Leaves out a last batch that is smaller than the others. By default it is given.
    pub fn drop_last(mut self) -> Self {
        self.settings.last = LastBatch::Drop;
        self
    }

    /// The seed of this loader. Default: the run's.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// The name of the stream of random choices. Default: `data`.
    ///
    /// Two loaders of one seed and one name shuffle alike; give another name to one of them if
    /// they must not.
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.settings.stream = name.into();
        self
    }
}

/// Threads and faults.
impl<B> Loader<B> {
    /// Threads that make batches. Default: 0, they are made on the thread that asks.
    ///
    /// No thread outlives its epoch, and none is ever killed: the end of an epoch waits for the
    /// sample in hand.
    pub fn workers(mut self, threads: usize) -> Self {
        self.settings.workers = threads;
        self
    }

    /// Finished batches that may wait, over all workers. Default: 2 per worker.
    ///
    /// At most `workers + prefetch` batches are in memory, besides the one in use. Without
    /// workers nothing is read ahead.
    pub fn prefetch(mut self, batches: usize) -> Self {
        self.settings.prefetch = Some(batches);
        self
    }

    /// Passes over samples that cannot be read, or whose transform fails or panics. By default
    /// they are errors.
    ///
    /// Each is a notice of the run, with their number in the epoch. The batch is smaller by
    /// it. A batch without a sample left is still an error, and so is a sample that does not fit
    /// its batch.
    pub fn skip_bad_samples(mut self) -> Self {
        self.settings.skip_bad_samples = true;
        self
    }

    /// The wait for one batch that becomes a notice of the run, which names the worker and its
    /// sample. Default: 30 seconds. The notice is there when the batch is.
    pub fn slow_after(mut self, bound: Duration) -> Self {
        self.settings.slow = bound;
        self
    }
}

impl<B: Send + 'static> Loader<B> {
    /// The indices in the dataset of the samples of a batch, in their order. `at` is a place in the epoch, and `batch` a
    /// number in that epoch, from [`At::skip`] on. A batch of several ranks is that of `at.rank`: with the default, the
    /// only one, it is the whole batch.
    ///
    /// Nothing is read. Samples that were passed over because they are bad are among them; padding is not. It is
    /// an error if the epoch has no such batch.
    ///
    /// ```
    /// use regimen::data::{At, Loader, indices};
    /// let loader = Loader::collate(indices(10), Ok).batch_size(4);
    /// assert_eq!(loader.batch_indices(&At::epoch(0, 42), 2)?, [8, 9]);
    /// # Ok::<(), regimen::BoxError>(())
    /// ```
    pub fn batch_indices(&self, at: &At, batch: u64) -> Result<Vec<usize>, BoxError> {
        let (plan, _) = self.plan(at)?;
        let numbers = plan.shard.numbers();
        if !numbers.contains(&batch) {
            let Plan { dataset, epoch, .. } = plan;
            return Err(format!(
                "dataset `{dataset}`: batch {batch} is not in the rest of epoch {epoch}, batches {numbers:?}"
            )
            .into());
        }
        plan.shard.share(batch).positions.map(|position| plan.index(position)).collect()
    }

    /// The plan of the epoch of `at`, and what of it was consumed.
    fn plan(&self, at: &At) -> Result<(Plan, Consumed), BoxError> {
        let Settings { batch_size, last, .. } = self.settings;
        let name = self.assemble.name().into_owned();
        let fail = |what: String| -> BoxError { format!("dataset `{name}`: {what}").into() };
        if let Some(refused) = &self.settings.refused {
            return Err(fail(refused.clone()));
        }
        let len = self.assemble.len();
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
        let start = Start { batches: at.skip, samples: consumed.samples };
        let seed = keyed(self.settings.seed.unwrap_or(at.seed), &self.settings.stream, 0, 0);
        let order =
            self.settings.sampler.order(len, seed, at.epoch).map_err(|error| fail(error.to_string()))?;
        let shard =
            Shard::new(draws, batch_size, last, at.rank, start).map_err(|error| fail(error.to_string()))?;
        let plan = Plan {
            dataset: name,
            len,
            order,
            shard,
            rank: at.rank,
            seed,
            epoch: at.epoch,
            skip_bad_samples: self.settings.skip_bad_samples,
        };
        Ok((plan, consumed))
    }
}

impl<B: Send + 'static> Data for Loader<B> {
    type Batch = B;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = B>, BoxError> {
        let Settings { batch_size, workers, prefetch, slow, .. } = self.settings;
        let (plan, consumed) = self.plan(&at)?;
        let (name, draws) = (plan.dataset.clone(), self.settings.sampler.draws(plan.len));
        let prefetch = prefetch.unwrap_or(workers.saturating_mul(2));
        let mut epoch = LoaderEpoch::new(self.assemble.clone(), plan, workers, prefetch, slow)?;
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
        Some(Shard::batches(sampler.draws(self.assemble.len()), batch_size, last))
    }

    fn samples(&self) -> Option<u64> {
        Some(self.settings.sampler.draws(self.assemble.len()))
    }
}

// A derive would ask for batches that are `Clone`.
impl<B> Clone for Loader<B> {
    fn clone(&self) -> Self {
        Loader { assemble: Arc::clone(&self.assemble), settings: self.settings.clone() }
    }
}

impl<B> std::fmt::Debug for Loader<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader")
            .field("dataset", &self.assemble.name())
            .field("settings", &self.settings)
            .finish()
    }
}
