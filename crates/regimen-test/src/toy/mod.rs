//! The toy engine: a small, separate tensor library with the habits of libtorch.
//!
//! It is pure Rust in `f64`, so it builds fast and its numbers are exact to 1e-13. Parameters change in
//! place, and each has a slot that accumulates gradients. One flag sets the mode of a whole module, and
//! dropout draws from a global generator. A wrong shape panics. Half precision is emulated by rounding after
//! every operation. Use it to test units, callbacks and tasks without a tensor library.
//!
//! ```
//! use regimen_core::engine::Engine;
//! use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};
//!
//! manual_seed(7);
//! let mut vars = ToyVars::new();
//! let mlp = ToyMlp::plain(&mut vars, [2, 8, 1]);
//! let mut engine = ToyEngine::new(vars, mlp, ToyOptimizer::sgd(0.9));
//! let x = ToyArray::new(&[2, 2], &[0.0, 1.0, 1.0, 0.0]);
//! let loss = engine.module().forward(&x).mean_squared_error(&ToyArray::new(&[2, 1], &[1.0, -1.0]));
//! engine.backward(&loss, None)?;
//! engine.step(&[0.1])?;
//! # Ok::<(), regimen_core::BoxError>(())
//! ```

mod array;
mod engine;
mod global;
mod layers;
mod ops;
mod optimizer;
mod round;
mod samples;
mod vars;
mod weights;

pub use array::{ToyArray, ToyDevice};
pub use engine::ToyEngine;
pub use global::{host_reads, manual_seed, without_gradients};
pub use layers::{ToyCentre, ToyDropout, ToyLinear, ToyMlp};
pub use optimizer::ToyOptimizer;
pub use vars::ToyVars;
pub use weights::ToyWeights;
