//! Test doubles for regimen: for tests of your own units, callbacks, data and engines.
//!
//! * [`Transcript`], [`Recorder`] and [`RecordingUnit`] write down what a run tells them, so that
//!   a test is a run and the text that came of it.
//! * [`Act`] makes either of them fail, panic, stop, finish or notify at the n-th call;
//!   [`BadData`], [`BadState`] and [`FullDisk`] fail in the places where those cannot.
//! * [`toy`] is a small tensor library with an [`Engine`](regimen_core::engine::Engine), to run
//!   [`AutoUnit`](regimen_core::AutoUnit) and tasks without a real one.
//! * [`engine_suite`] holds any engine to the contract of the seam.
//! * `resume_matrix`, with the feature `resume-matrix`, pauses runs on it everywhere and finishes
//!   them in new processes.
//!
//! Everything here panics where a test should fail, and is meant for tests only.

#![forbid(unsafe_code)]

mod act;
mod bad_data;
mod bad_state;
mod full_disk;
mod recorder;
mod recording_unit;
mod transcript;

pub mod engine_suite;
#[cfg(feature = "resume-matrix")]
pub mod resume_matrix;
pub mod toy;

pub use act::Act;
pub use bad_data::BadData;
pub use bad_state::{BadState, Fault};
pub use full_disk::FullDisk;
pub use recorder::Recorder;
pub use recording_unit::{Call, RecordingUnit};
pub use transcript::Transcript;
