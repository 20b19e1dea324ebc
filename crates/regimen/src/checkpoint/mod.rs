//! Checkpoints on disk: written whole or not at all, found again, checked, and thinned out.
//!
//! * [`Checkpointer`] saves a run and restores it: most programs need nothing else;
//! * [`load_parts_from`] and [`Load`] take weights out of a checkpoint, without a run;
//! * [`Writer`] saves a [`Snapshot`] and prunes by [`Keep`];
//! * [`Checkpoints`] lists a run directory and loads the newest, the best or a step's
//!   [`Checkpoint`], passing over those that are damaged;
//! * [`Store`] is all that either needs of a disk: [`Disk`] is the real one, [`SimDisk`] one that
//!   can fail and lose its power, for tests;
//! * [`safetensors`] is the format of each part.
//!
//! A checkpoint is a directory such as `step-000000500` with a safetensors file a part and a
//! `MANIFEST` of text. [The checkpoint format](crate::guide::checkpoint_format) describes
//! the layout.
//!
//! What is saved of a unit are the parts of its [`AppState`](regimen_core::AppState). The derive
//! lists every field, so that none can be forgotten; the name of a field is that of its part, and
//! may be set by `#[app_state(rename = "name")]`:
//!
//! ```
//! # #[cfg(feature = "derive")]
//! # mod example {
//! use regimen::AppState;
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
//! A field that is neither [`Stateful`](regimen_core::Stateful) nor skipped does not compile:
//!
//! ```compile_fail,E0277
//! # use regimen::AppState;
//! #[derive(AppState)]
//! struct Line {
//!     slope: f64,
//!     label: String,
//! }
//! ```

mod background;
mod checkpointer;
mod checkpoints;
mod checksum;
mod disk;
mod error;
mod files;
mod finite;
mod limits;
mod load;
mod lock;
mod manifest;
mod name;
mod open;
mod prune;
mod reader;
mod restore;
mod retention;
mod saver;
mod saves;
mod sim_disk;
mod store;
mod sum_up;
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
pub use regimen_core::Goal;
pub use retention::Keep;
pub use saves::Saves;
pub use sim_disk::SimDisk;
pub use store::{Entry, NewFile, Opened, Store};
pub use writer::{Snapshot, Writer};
