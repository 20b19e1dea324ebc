//! Data: datasets, streams, loaders, mixes of sources, and adaptors.
//!
//! Every order and every random choice is a pure function of (seed, epoch, position), so a run
//! goes on with exactly the batches it would have had.

mod adapt;
mod consumed;
mod dataset;
mod fault;
mod loader;
mod mix;
mod normalise;
mod permutation;
mod position;
mod stream;

pub use regimen_core::data::*;

pub use adapt::{Cutmix, DataExt, Mixup, SegmCutmix, Timed, Waiting};
#[cfg(feature = "images")]
pub use dataset::ImageFolder;
pub use dataset::{
    Concatenated, Csv, Dataset, Idx, Mapped, Named, Subset, TryMapped, Zipped, indices, synthetic,
};
#[cfg(feature = "mmap")]
pub use dataset::{TokenFile, TokenWidth, TokenWindows};
pub use fault::SampleError;
pub use loader::{Collate, Loader, LoaderProfile, Padded, Sampler, Samples, Stacked, profile_loader};
pub use mix::{AllBatches, BatchOfEach, Mix, Stopping};
pub use normalise::Normalise;
pub use permutation::Permutation;
pub use stream::{Lines, Stream, StreamAt, StreamLoader, StreamReader, stream};
