//! The traits of data: batches, epoch by epoch, from any position.

mod position;
mod sample_array;
mod sources;

pub use position::Position;
pub use sample_array::{BlendSamples, SampleArray};
pub use sources::{each_epoch, one_epoch};

use crate::BoxError;

/// A source of batches, epoch by epoch.
///
/// **The order is a pure function of (seed, epoch, position).** Asked twice for the same [`At`], data
/// gives the same batches. So a stopped run continues with the batch it would have had. Data takes
/// `&self`, so the same data can train and evaluate.
///
/// `Vec`, slices and arrays of batches that are `Clone` are data; so is the result of [`each_epoch`]
/// for a closure that returns an iterator. A reference, `Box` or `Arc` of data is data.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not data",
    note = "a `Vec`, slice or array of batches that are `Clone` is, and `each_epoch(|epoch| iterator)`",
    note = "tensors of tch are not `Clone`; of `batches`, a `Vec` of them, \
            `each_epoch(|_| batches.iter().map(|batch| batch.shallow_clone()))` is data"
)]
pub trait Data {
    /// The batch of one step.
    type Batch;

    /// Begins, or continues, the epoch of `at`. Skipping the batches already consumed must cost nothing
    /// if the data can seek. It is an error if the data has fewer batches than that.
    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = Self::Batch>, BoxError>;

    /// The number of batches in a whole epoch. Returns `None` if it is not known before the end.
    ///
    /// Data that returns a number and gives another is an error of the run. A number from
    /// [`Epoch::batches_left`] overrides it.
    fn batches(&self) -> Option<u64> {
        None
    }

    /// The number of samples in a whole epoch over all ranks, with those that a dropped last batch leaves out. Returns
    /// `None` if it is not known. For reports: no loop depends on it.
    fn samples(&self) -> Option<u64> {
        None
    }
}

/// The epoch to give, and the position in it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct At {
    /// Completed epochs of the phase: 0 for the first.
    pub epoch: u64,
    /// Batches of this epoch that were consumed already, of any size.
    pub skip: u64,
    /// The position of the last batch consumed in this epoch, after which the epoch continues. `None`
    /// as in data that counts batches: it continues after `skip` batches.
    pub position: Option<Position>,
    /// The seed of the run.
    pub seed: u64,
    /// The shard of this process.
    pub rank: Rank,
}

impl At {
    /// The beginning of epoch `epoch` under `seed`, as the only process.
    pub fn epoch(epoch: u64, seed: u64) -> Self {
        At { epoch, seed, ..At::default() }
    }

    /// The same epoch after `batches` batches.
    pub fn skip(self, batches: u64) -> Self {
        At { skip: batches, ..self }
    }

    /// The same place for another shard of the data.
    pub fn rank(self, rank: Rank) -> Self {
        At { rank, ..self }
    }
}

/// One process among those that train together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rank {
    /// Its index: below `count`.
    pub index: u64,
    /// The number of processes: at least 1.
    pub count: u64,
}

impl Rank {
    /// Whether it is the first, which writes files and answers for all.
    pub const fn is_first(self) -> bool {
        self.index == 0
    }
}

impl Default for Rank {
    /// The only one.
    fn default() -> Self {
        Rank { index: 0, count: 1 }
    }
}

/// One epoch under way.
pub trait Epoch {
    /// The batch of one step.
    type Batch;

    /// The next batch, or `None` at the end of the epoch. The loop does not call it again after an
    /// error.
    fn next(&mut self) -> Option<Result<Fetched<Self::Batch>, BoxError>>;

    /// The number of batches still to come. Returns `None` if it is not known, or if it is
    /// [`Data::batches`] less those consumed.
    ///
    /// An epoch that was continued with batches of another size must return it. An epoch that wraps
    /// another one passes on its number.
    fn batches_left(&self) -> Option<u64> {
        None
    }

    /// A message that is no error (a slow worker, a sample skipped), returned once. It becomes a notice
    /// of the run.
    fn notice(&mut self) -> Option<String> {
        None
    }
}

/// A batch with its number of samples and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched<B> {
    /// The batch.
    pub batch: B,
    /// The number of samples in it, as limits and throughput by samples count them. Of several ranks, those of this
    /// rank's share: a run with [peers](crate::Run::peers) counts the sum.
    pub samples: u64,
    /// The position of the data after it, over all ranks; `None` if the number of batches is enough.
    pub position: Option<Position>,
}

impl<B> Fetched<B> {
    /// A batch of `samples` samples from data that counts batches.
    pub fn new(batch: B, samples: u64) -> Self {
        Fetched { batch, samples, position: None }
    }
}

impl<E: Epoch + ?Sized> Epoch for Box<E> {
    type Batch = E::Batch;

    fn next(&mut self) -> Option<Result<Fetched<E::Batch>, BoxError>> {
        (**self).next()
    }

    fn batches_left(&self) -> Option<u64> {
        (**self).batches_left()
    }

    fn notice(&mut self) -> Option<String> {
        (**self).notice()
    }
}

/// [`Data`] as a trait object: `Box<dyn DynData<B>>` is data of `B`.
///
/// Implemented for all data. It costs one allocation per epoch.
pub trait DynData<B> {
    /// As [`Data::epoch`].
    fn dyn_epoch(&self, at: At) -> Result<Box<dyn Epoch<Batch = B> + '_>, BoxError>;

    /// As [`Data::batches`].
    fn dyn_batches(&self) -> Option<u64>;

    /// As [`Data::samples`].
    fn dyn_samples(&self) -> Option<u64>;
}

impl<D: Data> DynData<D::Batch> for D {
    fn dyn_epoch(&self, at: At) -> Result<Box<dyn Epoch<Batch = D::Batch> + '_>, BoxError> {
        Ok(Box::new(self.epoch(at)?))
    }

    fn dyn_batches(&self) -> Option<u64> {
        self.batches()
    }

    fn dyn_samples(&self) -> Option<u64> {
        self.samples()
    }
}

macro_rules! erased {
    ($($object:ty),*) => {$(
        impl<B> Data for $object {
            type Batch = B;

            fn epoch(&self, at: At) -> Result<impl Epoch<Batch = B>, BoxError> {
                self.dyn_epoch(at)
            }

            fn batches(&self) -> Option<u64> {
                self.dyn_batches()
            }

            fn samples(&self) -> Option<u64> {
                self.dyn_samples()
            }
        }
    )*};
}
erased!(dyn DynData<B> + '_, dyn DynData<B> + Send + Sync + '_);

macro_rules! pointer {
    ($($pointer:ty),*) => {$(
        impl<D: Data + ?Sized> Data for $pointer {
            type Batch = D::Batch;

            fn epoch(&self, at: At) -> Result<impl Epoch<Batch = D::Batch>, BoxError> {
                (**self).epoch(at)
            }

            fn batches(&self) -> Option<u64> {
                (**self).batches()
            }

            fn samples(&self) -> Option<u64> {
                (**self).samples()
            }
        }
    )*};
}
pointer!(&D, Box<D>, std::sync::Arc<D>, std::rc::Rc<D>);

/// The error of an epoch that ends before the position at which it continues.
pub(crate) fn shorter(consumed: u64, batches: u64) -> BoxError {
    format!("{consumed} batches were consumed of an epoch that has {batches} now: the data became shorter")
        .into()
}
