//! A run directory: its checkpoints, the writer of new ones, retention, and the lock file.

mod checkpoint;
mod checkpoints;
mod files;
mod keep;
mod lock;
mod prune;
pub(super) mod writer;

pub use checkpoint::Checkpoint;
pub use checkpoints::{Checkpoints, Found, Listing, Skipped, Which};
pub use keep::Keep;
pub use lock::Lock;
pub use prune::Removed;
pub use writer::{Snapshot, Writer};
