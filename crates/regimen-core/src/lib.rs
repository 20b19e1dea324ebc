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

mod auto_unit;
mod best;
mod callback;
mod callbacks;
mod data;
mod engine;
mod entry;
mod error;
mod event;
mod every;
mod guard;
mod limits;
mod loops;
mod metric;
mod names;
mod on;
mod passes;
mod phase;
mod place;
mod position;
mod precision;
mod random;
mod reader;
mod report;
mod run;
mod saver;
mod schedule;
mod sink;
mod sources;
mod spare;
mod state;
mod state_dict;
mod stateful;
mod stop;
mod task;
mod to_device;
mod unit;
mod watch;

pub mod text;

pub use auto_unit::{
    AutoUnit, Averaging, EVAL_LOSS, GradientScaler, NonFinite, Plateau, TRAIN_LOSS, TRAIN_SKIPPED, Thaw,
    Unreached,
};
pub use best::{Best, Goal};
pub use callback::Callback;
pub use data::{At, Data, DynData, Epoch, Fetched, Rank};
pub use engine::{Bucket, Engine, Mode};
pub use entry::{evaluate, fit, predict, train};
pub use error::{BoxError, Error, Kind, Place, Source};
pub use event::{Event, Events, Trigger};
pub use every::Every;
pub use limits::{Evaluate, Fit, Predict, Train};
pub use metric::{Key, Metric, Metrics, Reduction};
pub use names::{any_of, group_beside};
pub use on::Outcome;
pub use phase::{Phase, Progress};
pub use position::Position;
pub use precision::Precision;
pub use random::{Random, keyed};
pub use report::{Ended, EpochMetrics, Report};
pub use run::Run;
pub use saver::{Moment, Restored, Saver, Which};
pub use schedule::{LearningRates, Schedule};
pub use sink::Sink;
pub use sources::{Batches, Counted, CountedEpoch, FromFn, Once, counted, from_fn, once};
pub use spare::with_spares;
pub use state::{Entry, Expected, State};
pub use state_dict::{Array, Dtype, Element, MAX_COUNT, StateDict};
pub use stateful::{AppState, Parts, Stateful, load_parts, load_parts_except, save_parts, weight_parts};
pub use stop::{Stop, StopHandle};
pub use task::{Loss, PredictTask, Step, StepResults, Task};
pub use to_device::ToDevice;
pub use unit::{EvalUnit, PredictUnit, TrainUnit};
pub use watch::note_unless_finite;
