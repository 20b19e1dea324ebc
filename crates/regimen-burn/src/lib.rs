// Links of the README are those of GitHub; the first definition of each counts.
#![doc = include_str!("../guide/links.txt")]
#![doc = include_str!("../README.md")]
//!
//! # The parts
//!
//! [`Burn`] is the [`Engine`](regimen_core::engine::Engine) for an [`AutoUnit`]. A plain unit, which calls
//! Burn by itself, gets the same from the parts: [`initialize`], [`place`], [`seed_step`],
//! [`ModuleState`] and [`OptimizerState`].
//!
//! Burn on the CPU has one generator for the whole process. Two trainings in two threads of one
//! process draw from each other's numbers, so neither can be repeated: give each a process.
//!
//! [`AutoUnit`]: regimen_core::AutoUnit
#![forbid(unsafe_code)]

mod activations;
mod array;
mod buffers;
mod classification;
mod device;
mod engine;
mod exchange;
mod freeze;
mod gradients;
mod module_state;
mod momentum;
mod optimizer_state;
mod parameters;
mod precision;
mod reads;
mod samples;
mod seed;
mod unreached;
mod values;
mod watch;
mod weights;

// The pages of the guide. Their links work twice: on GitHub by the definitions at the end of each page, here
// by those of `links.txt`, which come first and so count.
#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/burn.md")]
pub mod training_on_burn {}

pub use burn;

pub use activations::checkpoint_activations;
pub use classification::{accuracy, correct, cross_entropy};
pub use device::{BurnDevice, device, devices, place};
pub use engine::Burn;
pub use module_state::ModuleState;
pub use momentum::{Momentum, MomentumOptimizer};
pub use optimizer_state::OptimizerState;
pub use parameters::named;
#[doc(hidden)]
pub use reads::host_reads;
pub use seed::{initialize, seed_step};
pub use watch::watch;
pub use weights::BurnWeights;
