//! A run directory: its checkpoints, the writer of new ones, retention, and the lock file.

mod checkpoint;
mod checkpoints;
pub(super) mod files;
mod keep;
mod lock_file;
mod prune;
mod snapshot;
pub(super) mod writer;

pub use checkpoint::Checkpoint;
pub use checkpoints::{Checkpoints, Listing, LoadedCheckpoint, SkippedCheckpoint};
pub use keep::Keep;
pub use lock_file::LockFile;
pub use prune::PruneReport;
pub use snapshot::Snapshot;
pub use writer::Writer;
