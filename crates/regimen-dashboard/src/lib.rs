//! A run in the terminal: curves, progress, rates, load, notices and checkpoints.
//!
//! * [`Dashboard`] is a callback, in place of a progress bar;
//! * [`Watch`] shows the run of another process, from its folder. The program `regimen watch` is made of it.
//!
//! Both show the same, for the same keys. [The page of the guide](regimen::guide::dashboard) has pictures.
#![forbid(unsafe_code)]

mod buckets;
mod curve;
mod dashboard;
mod draw;
mod look;
mod model;
mod pace;
mod reader;
mod saved;
mod screen;
mod series;
mod tail;
mod utc;
mod view;
mod watch;
mod window;

pub use dashboard::Dashboard;
pub use watch::Watch;

/// The programs of the README and of the guide's page are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../../regimen/guide/dashboard.md")]
mod pages {}
