//! The toy engine: a small tensor library of its own, with the habits of libtorch.
//!
//! It is pure Rust in `f64`, so it costs nothing to build and its numbers can be held to 1e-13.
//! Parameters change in place, each has a slot in which gradients add up, one flag tells a whole
//! module that it is trained, dropout draws from a generator that no module owns, and a wrong
//! shape panics. Half precision is what it rounds to after every operation. Use it to test units, callbacks and tasks without a tensor library.
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
mod vars;
mod weights;

pub use array::{ToyArray, ToyDevice};
pub use engine::ToyEngine;
pub use global::{host_reads, manual_seed, without_gradients};
pub use layers::{ToyCentre, ToyDropout, ToyLinear, ToyMlp};
pub use optimizer::ToyOptimizer;
pub use vars::ToyVars;
pub use weights::ToyWeights;
