//! Tests of the core, by subject.
//!
//! One program, because each is linked separately. A test that needs an allocator or a process is next
//! to this folder.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod anomaly;
mod auto_predict_unit;
mod auto_unit;
mod averaging;
mod beside_the_loss;
mod callbacks;
mod causes;
mod entry_points;
mod errors;
mod eval_precision;
mod groups;
mod momentum;
mod one_weight;
mod owned;
mod pass_faults;
mod passes;
mod reads;
mod report;
mod saver;
mod scaling;
mod statistics;
mod stops;
mod weighted;
mod window_faults;
mod windows;
