//! Checkpoints on disk: atomic writes, checksums, retention, and restore.
//!
//! * [`Checkpointer`] saves a run and restores it: most programs need nothing else;
//! * [`load_parts_from`] and [`Load`] load weights from a checkpoint, without a run;
//! * [`Writer`] saves a [`Snapshot`] and prunes by [`Keep`];
//! * [`Checkpoints`] lists a run directory and loads the latest, the best or a step's
//!   [`Checkpoint`], passing over those that are damaged;
//! * [`Store`] is all that either needs of a disk: [`Disk`] is the real one, [`SimDisk`] one that
//!   can fail and lose its power, for tests;
//! * [`safetensors`] is the format of each part.
//!
//! A checkpoint is a directory such as `step-000000500` with a safetensors file a part and a
//! `MANIFEST` of text. [The checkpoint format](crate::guide::checkpoint_format) describes
//! the layout.
//!
//! A checkpoint holds the parts of a unit that its [`AppState`](regimen_core::saved::AppState) lists. The
//! derive lists every field, so that none can be forgotten. The name of a field is that of its part, and
//! may be set by `#[app_state(rename = "name")]`:
//!
//! ```
//! # #[cfg(feature = "derive")]
//! # mod example {
//! use regimen::saved::AppState;
//!
//! #[derive(AppState)]
//! struct Line {
//!     slope: f64,
//!     offset: f64,
//!     #[app_state(skip)]
//!     label: String,
//! }
//! # }
//! ```
//!
//! A field that is neither [`Stateful`](regimen_core::saved::Stateful) nor skipped does not compile:
//!
//! ```compile_fail,E0277
//! # use regimen::saved::AppState;
//! #[derive(AppState)]
//! struct Line {
//!     slope: f64,
//!     label: String,
//! }
//! ```

mod checkpointer;
mod directory;
mod error;
mod format;
mod load;
mod store;

pub(crate) use checkpointer::RUN;
pub use checkpointer::{Checkpointer, SaveStats};
pub use directory::{
    Checkpoint, Checkpoints, Keep, Listing, LoadedCheckpoint, LockFile, PruneReport, SkippedCheckpoint,
    Snapshot, Writer,
};
pub use error::CheckpointError;
pub use format::{Manifest, PartFile, safetensors};
pub use load::{Load, LoadReport, load_parts_from};
pub use regimen_core::metric::Goal;
pub use regimen_core::run::Which;
pub use store::{Disk, NewFile, OpenFile, SimDisk, Store, StoreEntry, StoreLock};
