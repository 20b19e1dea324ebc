//! Data: datasets, the loader that makes batches of them, and what else gives batches.
//!
//! Every order and every random choice is a pure function of (seed, epoch, position), so a run
//! goes on with exactly the batches it would have had.

mod assemble;
mod collate;
mod combine;
mod consumed;
mod dataset;
mod epoch;
mod fault;
mod loader;
mod mix;
mod mix_all;
mod mix_epoch;
mod mix_length;
mod mix_source;
mod permutation;
mod position;
mod prefetch;
mod profile;
mod sampler;
mod shard;
mod shuffle;
mod source;
mod stream;
mod stream_loader;
mod stream_map;
mod subset;
mod transform;
mod worker;
mod wrap;

pub use collate::{Collate, CollateInto, CollateWith, Collator, Pad, Padded, Stack, Stacked, TransformBatch};
pub use combine::{Cached, Concat, Mapped, Named, TryMapped, Zip, concat};
pub use dataset::{Dataset, Indices, Synthetic, indices, synthetic};
pub use epoch::LoaderEpoch;
pub use fault::SampleError;
pub use loader::Loader;
pub use mix::{Mix, Stopping};
pub use mix_all::{AllBatches, AllBatchesEpoch, BatchOfEach};
pub use mix_epoch::MixEpoch;
pub use permutation::Permutation;
pub use prefetch::{Prefetched, PrefetchedEpoch, prefetched};
pub use profile::{LoaderProfile, profile_loader};
pub use sampler::Sampler;
pub use shuffle::{Shuffle, ShuffleReader};
#[cfg(feature = "images")]
pub use source::ImageFolder;
pub use source::{Csv, Idx, Lines, LinesReader};
#[cfg(feature = "mmap")]
pub use source::{TokenFile, TokenWidth, Windows};
pub use stream::{IterReader, IterStream, Reader, Stream, StreamAt, stream};
pub use stream_loader::{StreamEpoch, StreamLoader};
pub use stream_map::{MapReader, StreamMap, StreamTransform, TransformReader};
pub use subset::Subset;
pub use transform::{Samples, Transformed, TryTransformed};
pub use wrap::{Map, MapEpoch, Take, TakeEpoch, Timed, TimedEpoch, Waiting, map, take, timed};
