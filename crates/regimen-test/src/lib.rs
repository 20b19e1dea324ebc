//! Test doubles for regimen: test your own units, callbacks, data and engines.
//!
//! * [`Transcript`], [`Recorder`] and [`RecordingUnit`] record the calls of a run, so that a test
//!   compares a run with a text.
//! * [`Act`] makes a recorder or a recording unit fail, panic, stop, finish or notify at the n-th
//!   call; [`BadData`], [`BadState`] and [`FullDisk`] fail elsewhere.
//! * [`event_files`] reads the event files of a log for TensorBoard, and [`wandb_file`] the file of one for
//!   Weights & Biases.
//! * [`toy`] is a small tensor library with an [`Engine`](regimen_core::engine::Engine), for tests
//!   of [`AutoUnit`](regimen_core::AutoUnit) and tasks.
//! * [`engine_suite`] is the conformance suite of the trait `Engine`.
//! * [`peers`] has ranks that are threads of one process, and wrappers that make a transport slow or end a rank;
//!   [`peers_suite`] is the conformance suite of the trait `Peers`.
//! * `resume_matrix`, with the feature `resume-matrix`, is the conformance suite of exact resume: it
//!   pauses runs after every step and finishes them in new processes.
//!
//! Everything here panics if a test should fail, and is meant for tests only.

#![forbid(unsafe_code)]

mod act;
mod bad_data;
mod bad_state;
mod full_disk;
mod protobuf;
mod recorder;
mod recording_unit;
mod transcript;

pub mod engine_suite;
pub mod event_files;
pub mod peers;
pub mod peers_suite;
#[cfg(feature = "resume-matrix")]
pub mod resume_matrix;
pub mod toy;
pub mod wandb_file;

pub use act::Act;
pub use bad_data::BadData;
pub use bad_state::{BadState, Fault};
pub use full_disk::FullDisk;
pub use recorder::Recorder;
pub use recording_unit::{Call, RecordingUnit};
pub use transcript::Transcript;
