//! regimen's engine on libtorch: PyTorch's kernels, its optimizers, its model files.
//!
//! [`Torch`] is the [`Engine`](regimen_core::engine::Engine) for an [`AutoUnit`], over any model that keeps
//! its parameters in a [`VarStore`](tch::nn::VarStore). A plain unit, which calls tch by itself, gets
//! the same from the parts: [`initialize`], [`place`], [`seed_step`], [`ModuleState`] and
//! [`Optim`], an optimizer whose state can be saved.
//!
//! A layer that behaves differently in training, such as dropout, is told: pass
//! [`Step::is_train`](regimen_core::Step::is_train) to `forward_t`.
//!
//! libtorch has one generator for each device of the process. Two trainings in two threads of one
//! process draw from each other's numbers, so neither can be repeated: give each a process. The
//! number of threads changes the last bits of sums: resume with as many as before.
//!
//! A whole program: it can be stopped at any moment, and goes on when it is started again.
//!
//! ```no_run
//! use regimen::checkpoint::{Checkpointer, load_parts_from};
//! use regimen::data::Loader;
//! use regimen::signal::Signals;
//! use regimen::{AutoUnit, BoxError, Loss, Run, Step, Task};
//! use regimen::callback::Every;
//! use regimen::run::Train;
//! use regimen_torch::tch::nn::{Module, Path, self};
//! use regimen_torch::tch::{Reduction, Tensor};
//! use regimen_torch::{Adam, Torch, device, failure, initialize};
//!
//! struct Mlp(nn::Linear, nn::Linear);
//!
//! impl Mlp {
//!     fn new(root: &Path<'_>) -> Self {
//!         Mlp(
//!             nn::linear(root / "hidden", 2, 64, Default::default()),
//!             nn::linear(root / "output", 64, 1, Default::default()),
//!         )
//!     }
//! }
//!
//! struct Regress;
//!
//! impl Task<Torch<Mlp>> for Regress {
//!     /// Inputs `[batch, 2]` and targets `[batch, 1]`.
//!     type Batch = (Tensor, Tensor);
//!     type Output = ();
//!
//!     fn compute_loss(&mut self, step: &Step, mlp: &Mlp, (x, y): &Self::Batch) -> Result<(Loss<Tensor>, ()), BoxError> {
//!         let hidden = mlp.0.forward(x).relu().dropout(0.1, step.is_train());
//!         let loss = mlp.1.forward(&hidden).mse_loss(y, Reduction::Mean);
//!         Ok((Loss::mean(loss, x.size()[0] as f64), ()))
//!     }
//! }
//!
//! /// Samples to tensors.
//! fn collate(samples: Vec<([f32; 2], f32)>) -> Result<(Tensor, Tensor), BoxError> {
//!     let (x, y): (Vec<[f32; 2]>, Vec<f32>) = samples.into_iter().unzip();
//!     let x = Tensor::from_slice(x.as_flattened()).f_view([-1, 2]).map_err(failure)?;
//!     Ok((x, Tensor::from_slice(&y).f_view([-1, 1]).map_err(failure)?))
//! }
//!
//! fn unit() -> Result<AutoUnit<Torch<Mlp>, Regress>, BoxError> {
//!     let (vars, mlp) = initialize(7, device("cpu")?, Mlp::new);
//!     let adam = Adam::with_decoupled_decay();
//!     let engine = Torch::new(vars, mlp, adam)?
//!         .group("no_decay", |name| name.ends_with("bias"), adam.weight_decay(0.0))?;
//!     Ok(AutoUnit::new(engine, Regress).learning_rate(1e-3))
//! }
//!
//! fn main() -> Result<(), BoxError> {
//!     let samples: Vec<_> = (0..1000).map(|i| ([i as f32, 1.0], (i as f32).sin())).collect();
//!     let data = Loader::collate(samples, collate).batch_size(64).shuffle();
//!     let mut unit_in_training = unit()?;
//!     let mut run = Run::new(&mut unit_in_training)
//!         .seed(7)
//!         .saver(Checkpointer::new("runs/mine").every(Every::steps(500)).keep_last(2));
//!     run.restore_latest()?;
//!     let _signals = Signals::pause(&run.pause_handle())?;
//!     run.train(&data, Train::epochs(20))?;
//!
//!     // Weights for inference: the part `module` of the newest checkpoint, and nothing else.
//!     let mut unit = unit()?;
//!     load_parts_from("runs/mine", &mut unit, &["module"])?;
//!     let (_vars, _mlp) = unit.into_parts().0.into_parts();
//!     Ok(())
//! }
//! ```
//!
//! A batch of one's own derives [`ToDevice`](regimen_core::engine::ToDevice), and is moved with every tensor in it,
//! whatever the precision. tch's tensors are not `Clone`, so batches come of a loader's `collate`, or of
//! [`each_epoch`](regimen_core::data::each_epoch):
//!
//! ```
//! use regimen::{AutoUnit, BoxError, Loss, Run, Step, Task};
//! use regimen::engine::{Precision, ToDevice};
//! use regimen::run::Train;
//! use regimen::data::each_epoch;
//! use regimen_torch::tch::nn::{Linear, Module, self};
//! use regimen_torch::tch::{Kind, Tensor};
//! use regimen_torch::{Sgd, Torch, device, initialize};
//!
//! #[derive(ToDevice)]
//! struct Images {
//!     /// `[batch, pixels]`.
//!     pixels: Tensor,
//!     classes: Tensor,
//!     #[to_device(skip)]
//!     paths: Vec<std::path::PathBuf>,
//! }
//!
//! struct Classify;
//!
//! impl Task<Torch<Linear>> for Classify {
//!     type Batch = Images;
//!     type Output = ();
//!
//!     fn compute_loss(&mut self, _: &Step, linear: &Linear, batch: &Images) -> Result<(Loss<Tensor>, ()), BoxError> {
//!         let loss = linear.forward(&batch.pixels).cross_entropy_for_logits(&batch.classes);
//!         Ok((Loss::mean(loss, batch.paths.len() as f64), ()))
//!     }
//! }
//!
//! # fn main() -> Result<(), BoxError> {
//! let (vars, linear) = initialize(7, device("cpu")?, |root| nn::linear(root, 4, 2, Default::default()));
//! let engine = Torch::new(vars, linear, Sgd::new())?;
//! let mut unit = AutoUnit::new(engine, Classify).learning_rate(0.1).precision(Precision::BF16);
//! let (pixels, classes) = (Tensor::ones([2, 4], (Kind::Float, device("cpu")?)), Tensor::from_slice(&[0_i64, 1]));
//! let data = each_epoch(|_| {
//!     let paths = vec!["a.png".into(), "b.png".into()];
//!     std::iter::once(Images { pixels: pixels.shallow_clone(), classes: classes.shallow_clone(), paths })
//! });
//! Run::new(&mut unit).train(&data, Train::epochs(3))?;
//! # Ok(()) }
//! ```
//!
//! [`AutoUnit`]: regimen_core::AutoUnit

mod activations;
mod array;
mod buffers;
mod device;
mod engine;
mod failure;
mod gradients;
mod module_state;
mod optimizer;
mod parameters;
mod process;
mod script;
mod seed;
mod shim;
mod unreached;
mod watch;
mod weights;

pub use tch;

pub use activations::{Recomputed, checkpoint_activations};
pub use device::{TorchDevice, device, devices, place};
pub use engine::Torch;
pub use failure::failure;
pub use module_state::ModuleState;
pub use optimizer::{Adam, Algorithm, Optim, RmsProp, Sgd};
pub use process::{keep_memory, use_deterministic_algorithms};
pub use script::{FrozenScript, ScriptModule};
pub use seed::{initialize, seed_step};
pub use watch::watch;
pub use weights::TorchWeights;
