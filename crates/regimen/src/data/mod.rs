//! Data: datasets, the loader that makes batches of them, and what else gives batches.
//!
//! Every order and every random choice is a pure function of (seed, epoch, position), so a run
//! goes on with exactly the batches it would have had.

mod adapt;
mod consumed;
mod dataset;
mod fault;
mod loader;
mod mix;
mod position;
mod stream;

pub use regimen_core::data::*;

pub use adapt::{
    Map, MapEpoch, Prefetched, PrefetchedEpoch, Take, TakeEpoch, Timed, TimedEpoch, Waiting, map, prefetched,
    take, timed,
};
#[cfg(feature = "images")]
pub use dataset::ImageFolder;
pub use dataset::{
    Cached, Concat, Csv, Dataset, Idx, Indices, Mapped, Named, Subset, Synthetic, TryMapped, Zip, concat,
    indices, synthetic,
};
#[cfg(feature = "mmap")]
pub use dataset::{TokenFile, TokenWidth, Windows};
pub use fault::SampleError;
pub use loader::{
    Collate, CollateInto, CollateWith, Collator, Loader, LoaderEpoch, LoaderProfile, Pad, Padded,
    Permutation, Sampler, Samples, Stack, Stacked, TransformBatch, Transformed, TryTransformed,
    profile_loader,
};
pub use mix::{AllBatches, AllBatchesEpoch, BatchOfEach, Mix, MixEpoch, Stopping};
pub use stream::{
    IterReader, IterStream, Lines, LinesReader, MapReader, Reader, Shuffle, ShuffleReader, Stream, StreamAt,
    StreamEpoch, StreamLoader, StreamMap, StreamTransform, TransformReader, stream,
};

/// The programs of the guide's page on data are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/data.md")]
struct Guide;
