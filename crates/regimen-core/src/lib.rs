//! The core of regimen: loops, units, callbacks, state, metrics, data, and `AutoUnit` over the
//! seam to tensor libraries. No dependency, no I/O, no clock, no unsafe code.
//!
//! Programs use the crate `regimen`, which re-exports all of this. What to read first:
//!
//! * [`TrainUnit`], [`EvalUnit`], [`PredictUnit`]: what a step does. That is all one must write.
//! * [`train`], [`evaluate`], [`predict`], [`fit`] for the simple case, and [`Run`] for callbacks,
//!   seeds, pauses and restarts. [`Run`] draws the order of everything that happens.
//! * [`Callback`]: what watches a run, with what an error and a stop do at each hook.
//! * [`Data`]: what gives batches, in an order that is a pure function of (seed, epoch, position).
//! * [`Key`] and [`State::log`]: metrics that cannot be misspelt.
//! * [`AutoUnit`] and [`Task`]: the optimization step written once, over an [`Engine`].
//! * [`Stateful`] and [`AppState`]: what a checkpoint holds; a [`Saver`] writes it.
//!
//! # Words
//!
//! A **step** is one call of the unit's step, with one (micro-)batch. An **update** is one step of
//! the optimizer: with accumulation n, n steps make one. An **epoch** is one pass of the data, or up
//! to its cap; it ends only by its data or its cap, so a limit, a stop or an error *pauses* it. A
//! **cycle** is a training epoch together with the evaluations that `fit` runs for it. A **final
//! stop** is one that a rule decided, such as early stopping.
#![forbid(unsafe_code)]

pub mod auto_unit;
pub mod callback;
pub mod data;
pub mod engine;
pub mod error;
pub mod metric;
pub mod random;
pub mod run;
pub mod saved;
pub mod schedule;
pub mod state;
pub mod text;
pub mod unit;

pub use auto_unit::{AutoUnit, Loss, Step, Task};
pub use callback::Callback;
pub use error::{BoxError, Error};
pub use run::{Fit, Run};
pub use state::State;
