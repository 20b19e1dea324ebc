//! The guide, in the order in which people meet things.
//!
//! | page | subject |
//! |---|---|
//! | [Installation][install] | engines, devices, features, libtorch |
//! | [The first model][first-model] | tasks, units, runs, the four entry points |
//! | [Data][data] | datasets, loaders, streams, order and randomness |
//! | [Callbacks and logs][callbacks] | bars, logs, metrics, the report, callbacks of your own |
//! | [Checkpoints and resume][resume] | exact resume, and its limits |
//! | [The dashboard][dashboard] | a run in the terminal, in its process or beside it |
//! | [Precision][precision] | half precision, activation checkpointing |
//! | [Groups and averages][averages] | parameter groups, learning rates, EMA and SWA |
//! | [Finders and safe starts][finders] | short runs before a long one: learning rates, batch sizes, seeds |
//! | [Several optimizers][optimizers] | GANs and other plain units |
//! | [Errors and debugging][errors] | steps that fail, NaN, notices |
//! | [Where the time goes][profile] | the times of a run, and a trace |
//! | [Writing an engine][engine] | the contract, and the suite that checks it |
//! | [Reports of runs][report] | one page of many runs, plots, a list |
//! | [Recipes][recipes] | a program per task |
//! | [Compiled steps][compiled-steps] | fusion, autotune, freezing |
//! | [The checkpoint format][checkpoint-format] | files, manifest, order of writes |
//! | [Coming from TorchTNT][coming-from-torchtnt] | each name of TorchTNT, and three programs in both |
//! | [Coming from Runner][coming-from-runner] | each part of pytorch-tools' `Runner`, and two programs in both |
//! | [Coming from FitLoop][coming-from-fitloop] | each part of fitloop's `FitLoop`, and two programs in both |
//!
//! [Training on Burn][burn] and [Training on libtorch][libtorch] are pages of the engine crates.
//!
#![doc = include_str!("../guide/links.txt")]

// The pages are files of the crate, so a packaged crate has them. Their links work twice: on GitHub by
// the definitions at the end of each page, here by those of `links.txt`, which come first and so count.

#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/install.md")]
pub mod install {}

#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/first-model.md")]
pub mod first_model {}

#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/data.md")]
pub mod data {}

#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/callbacks.md")]
pub mod callbacks {}

#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/resume.md")]
pub mod resume {}

// Its program needs the crate of the dashboard, and is a test of it.
#[doc = include_str!("../guide/links.txt")]
#[cfg_attr(not(doctest), doc = include_str!("../guide/dashboard.md"))]
pub mod dashboard {}

#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/precision.md")]
pub mod precision {}

#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/averages.md")]
pub mod averages {}

// Its program needs Burn. It is the example `finders`, which is compiled and run there; a test compares them.
#[doc = include_str!("../guide/links.txt")]
#[cfg_attr(not(doctest), doc = include_str!("../guide/finders.md"))]
pub mod finders {}

#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/optimizers.md")]
pub mod optimizers {}

#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/errors.md")]
pub mod errors {}

#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/profile.md")]
pub mod profile {}

#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/report.md")]
pub mod report {}

#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/engine.md")]
pub mod engine {}

#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/recipes.md")]
pub mod recipes {}

#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/compiled-steps.md")]
pub mod compiled_steps {}

#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/checkpoint-format.md")]
pub mod checkpoint_format {}

// Links to the pages in `docs`, so that a packaged crate has them too.
#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/coming-from-torchtnt.md")]
pub mod coming_from_torchtnt {}

// The programs of these two need Burn. They are examples, which are compiled and run there; a test compares them.
#[doc = include_str!("../guide/links.txt")]
#[cfg_attr(not(doctest), doc = include_str!("../guide/coming-from-runner.md"))]
pub mod coming_from_runner {}

#[doc = include_str!("../guide/links.txt")]
#[cfg_attr(not(doctest), doc = include_str!("../guide/coming-from-fitloop.md"))]
pub mod coming_from_fitloop {}

/// The programs of the other crates' READMEs are tests.
#[cfg(doctest)]
#[doc = include_str!("../../regimen-core/README.md")]
#[doc = include_str!("../../regimen-test/README.md")]
mod readmes {}
