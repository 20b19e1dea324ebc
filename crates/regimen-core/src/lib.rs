//! The core of regimen: training loops, units, callbacks, state, metrics, data, and `AutoUnit` over the
//! trait [`Engine`]. No dependency, no I/O, no clock, no unsafe code.
//!
//! Programs use the crate `regimen`, which re-exports all of this. The main items:
//!
//! * [`TrainUnit`], [`EvalUnit`], [`PredictUnit`]: the step, the only code that must be written.
//! * [`train`], [`evaluate`], [`predict`], [`fit`] for the simple case, and [`Run`] for callbacks,
//!   seeds, pauses and restarts. [`Run`] shows the order of all hooks.
//! * [`Callback`]: observers of a run, with the effect of an error and a stop at each hook.
//! * [`Data`]: batches, in an order that is a pure function of (seed, epoch, position).
//! * [`Key`] and [`State::log`]: metrics that cannot be misspelt.
//! * [`AutoUnit`] and [`Task`]: the optimization step, written once over an [`Engine`].
//! * [`Stateful`] and [`AppState`]: the saved state of a checkpoint; a [`Saver`] writes it.
//!
//! [`TrainUnit`]: unit::TrainUnit
//! [`EvalUnit`]: unit::EvalUnit
//! [`PredictUnit`]: unit::PredictUnit
//! [`train`]: run::train
//! [`evaluate`]: run::evaluate
//! [`predict`]: run::predict
//! [`fit`]: run::fit
//! [`Saver`]: run::Saver
//! [`Data`]: data::Data
//! [`Key`]: metric::Key
//! [`Engine`]: engine::Engine
//! [`Stateful`]: saved::Stateful
//! [`AppState`]: saved::AppState
//!
//! # Terms
//!
//! A **step** is one call of the unit's step, with one (micro-)batch. An **update** is one step of the
//! optimizer: with accumulation n, n steps make one. An **epoch** is one pass over the data, or up to
//! its cap; a limit, a stop or an error only *pauses* it. A **cycle** is a training epoch with its
//! evaluations by `fit`. A **final stop** is one that a rule decided, such as early stopping.
#![forbid(unsafe_code)]

pub mod auto_unit;
pub mod callback;
pub mod data;
pub mod engine;
pub mod error;
pub mod metric;
pub mod peers;
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
