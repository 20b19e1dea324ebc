//! regimen's engine on [Burn](burn): any module, any optimizer, the CPU by default.
//!
//! [`Burn`] is the [`Engine`](regimen_core::Engine) for an [`AutoUnit`]. A plain unit, which calls
//! Burn by itself, gets the same from the parts: [`initialize`], [`place`], [`seed_step`],
//! [`ModuleState`] and [`OptimizerState`]. The guide is [`guide::burn`].
//!
//! Burn on the CPU has one generator for the whole process. Two trainings in two threads of one
//! process draw from each other's numbers, so neither can be repeated: give each a process.
//!
//! [`AutoUnit`]: regimen_core::AutoUnit
#![forbid(unsafe_code)]

mod activations;
mod array;
mod device;
mod engine;
mod freeze;
mod gradients;
mod module_state;
mod optimizer_state;
mod parameters;
mod precision;
mod seed;
mod unreached;
mod values;
mod watch;
mod weights;

pub mod guide;

pub use burn;

pub use activations::checkpoint_activations;
pub use device::{BurnDevice, device, devices, place};
pub use engine::Burn;
pub use module_state::ModuleState;
pub use optimizer_state::OptimizerState;
pub use parameters::named;
pub use seed::{initialize, seed_step};
pub use watch::watch;
pub use weights::BurnWeights;
