//! Checkpoints on disk: written whole or not at all, found again, checked, and thinned out.
//!
//! * [`Writer`] saves a [`Snapshot`] and prunes by [`Keep`];
//! * [`Checkpoints`] lists a run directory and loads the newest, the best or a step's
//!   [`Checkpoint`], passing over those that are damaged;
//! * [`Store`] is all that either needs of a disk: [`Disk`] is the real one, [`SimDisk`] one that
//!   can fail and lose its power, for tests;
//! * [`safetensors`] is the format of each part.
//!
//! A checkpoint is a directory such as `step-000000500` with a safetensors file a part and a
//! `MANIFEST` of text. The layout is described in `docs/checkpoint-format.md`.

mod background;
mod checkpointer;
mod checkpoints;
mod checksum;
mod disk;
mod error;
mod files;
mod load;
mod lock;
mod manifest;
mod name;
mod prune;
mod reader;
mod restore;
mod retention;
mod saver;
mod saves;
mod sim_disk;
mod store;
mod take;
mod when;
mod writer;

pub mod safetensors;

pub use checkpointer::Checkpointer;
pub use checkpoints::{Checkpoints, Found, Listing, Skipped, Which};
pub use disk::Disk;
pub use error::CheckpointError;
pub use load::{Load, Loaded, load_parts_from};
pub use lock::Lock;
pub use manifest::{Manifest, Part};
pub use prune::Removed;
pub use reader::Checkpoint;
pub use retention::{Goal, Keep};
pub use saves::Saves;
pub use sim_disk::SimDisk;
pub use store::{Entry, NewFile, Opened, Store};
pub use writer::{Snapshot, Writer};
