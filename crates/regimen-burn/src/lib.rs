//! regimen's engine on [Burn](burn): any module, any optimizer, the CPU by default.
//!
//! [`Burn`] is the [`Engine`](regimen_core::engine::Engine) for an [`AutoUnit`]. A plain unit, which calls
//! Burn by itself, gets the same from the parts: [`initialize`], [`place`], [`seed_step`],
//! [`ModuleState`] and [`OptimizerState`].
//!
//! A batch of one's own derives [`ToDevice`](regimen_core::engine::ToDevice). So each tensor in it is moved as the
//! engine wants it, in half precision too; Burn's own `to_device` would leave floats as they are:
//!
//! ```
//! use regimen::{AutoUnit, BoxError, Loss, Run, Step, Task};
//! use regimen::engine::{Precision, ToDevice};
//! use regimen::run::Train;
//! use regimen_burn::burn::nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig};
//! use regimen_burn::burn::optim::SgdConfig;
//! use regimen_burn::burn::tensor::{FloatDType, Int, Tensor};
//! use regimen_burn::{Burn, device, initialize};
//!
//! #[derive(Clone, ToDevice)]
//! struct Images {
//!     /// `[batch, pixels]`, cast to the type that the module computes in.
//!     pixels: Tensor<2>,
//!     classes: Tensor<1, Int>,
//!     #[to_device(skip)]
//!     paths: Vec<std::path::PathBuf>,
//! }
//!
//! struct Classify;
//!
//! impl Task<Burn<Linear>> for Classify {
//!     type Batch = Images;
//!     type Output = ();
//!
//!     fn compute_loss(&mut self, _: &Step, linear: &Linear, batch: &Images) -> Result<(Loss<Tensor<1>>, ()), BoxError> {
//!         let logits = linear.forward(batch.pixels.clone()).cast(FloatDType::F32);
//!         let loss = CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, batch.classes.clone());
//!         Ok((Loss::mean(loss, batch.paths.len() as f64), ()))
//!     }
//! }
//!
//! # fn main() -> Result<(), BoxError> {
//! let device = device("cpu")?;
//! let linear = initialize(7, &device, |device| LinearConfig::new(4, 2).init(device))?;
//! let engine = Burn::new(linear, SgdConfig::new().init(), &device)?;
//! let mut unit = AutoUnit::new(engine, Classify).learning_rate(0.1).precision(Precision::BF16);
//! let batch = Images {
//!     pixels: Tensor::ones([2, 4], &device),
//!     classes: Tensor::from_data([0, 1], &device),
//!     paths: vec!["a.png".into(), "b.png".into()],
//! };
//! Run::new(&mut unit).train(&[batch], Train::epochs(3))?;
//! # Ok(()) }
//! ```
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
