//! Data: datasets, the loader that makes batches of them, and what else gives batches.
//!
//! Every order and every random choice is a pure function of (seed, epoch, position), so a run
//! goes on with exactly the batches it would have had.

mod assemble;
mod collate;
mod combine;
mod dataset;
mod epoch;
mod fault;
mod loader;
mod permutation;
mod sampler;
mod shard;
mod subset;
mod transform;
mod worker;

pub use collate::{
    Collate, CollateInto, CollateWith, Collator, Pad, Padded, Stack, Stacked, TransformBatch,
};
pub use combine::{Cached, Concat, Mapped, Named, TryMapped, Zip, concat};
pub use dataset::{Dataset, Indices, Synthetic, indices, synthetic};
pub use epoch::LoaderEpoch;
pub use fault::SampleError;
pub use loader::Loader;
pub use permutation::Permutation;
pub use sampler::Sampler;
pub use subset::Subset;
pub use transform::{Samples, Transformed, TryTransformed};
