// Links of the README are those of GitHub; the first definition of each counts.
#![doc = include_str!("../guide/links.txt")]
#![doc = include_str!("../README.md")]
//!
//! # The parts
//!
//! [`Torch`] is the [`Engine`](regimen_core::engine::Engine) for an [`AutoUnit`], over any model that keeps
//! its parameters in a [`VarStore`](tch::nn::VarStore). A plain unit, which calls tch by itself, uses the
//! parts: [`initialize`], [`place`], [`seed_step`], [`ModuleState`] and [`Optim`], an optimizer whose state
//! can be saved.
//!
//! A layer that behaves differently in training, such as dropout, needs the mode: pass
//! [`Step::is_train`](regimen_core::Step::is_train) to `forward_t`.
//!
//! libtorch has one generator for each device of the process. Two trainings in two threads draw from each
//! other's numbers, so neither is repeatable: give each a process. The number of threads changes the last
//! bits of sums: resume with the same number.
//!
//! [`AutoUnit`]: regimen_core::AutoUnit

mod activations;
mod array;
mod buffers;
mod classification;
mod costs;
mod device;
mod engine;
mod failure;
mod gradients;
mod module_state;
mod optimizer;
mod overlap;
mod parameters;
mod process;
mod samples;
mod script;
mod seed;
mod shim;
mod stretch;
mod unreached;
mod watch;
mod weights;

// The pages of the guide. Their links work twice: on GitHub by the definitions at the end of each page, here
// by those of `links.txt`, which come first and so count.
#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/libtorch.md")]
pub mod training_on_libtorch {}
#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/torchscript.md")]
pub mod models_from_python {}

pub use tch;

pub use activations::{Recomputed, checkpoint_activations};
pub use classification::{accuracy, correct, cross_entropy};
pub use device::{TorchDevice, device, devices, place};
pub use engine::Torch;
#[doc(hidden)]
pub use engine::host_reads;
pub use failure::failure;
pub use module_state::ModuleState;
pub use optimizer::{Adam, Algorithm, Optim, RmsProp, Sgd};
pub use process::{keep_memory, use_deterministic_algorithms};
pub use script::{FrozenScript, ScriptModule};
pub use seed::{initialize, seed_step};
pub use watch::watch;
pub use weights::TorchWeights;
