//! Reports of runs: what a run folder holds, one HTML page of many runs, and plots.
//!
//! [`StoredRun`] reads a [run folder](regimen::folder::RunFolder), [`Page`] writes the page and [`Plot`] the picture of one
//! metric. All three read logs line by line and keep a [`Curve`] per metric, whose size has a bound. The program `regimen`
//! has them as the commands `report`, `plot` and `runs`.
//!
//! ```no_run
//! use regimen_report::Page;
//!
//! # fn main() -> Result<(), regimen::BoxError> {
//! Page::new(["runs/a", "runs/b"]).write("report.html")?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod curve;
mod elapsed;
mod encode;
mod event_files;
mod find_runs;
mod history;
mod lines;
mod marks;
mod metrics_file;
mod names;
mod page;
mod picture;
mod plot;
mod replace;
mod run_state;
mod stored_run;

pub use curve::{Bucket, Curve, CurveKey};
pub use find_runs::{FoundRuns, find_runs, is_run};
pub use history::Notice;
pub use marks::Marks;
pub use names::names;
pub use page::{Page, PageReport};
pub use picture::Picture;
pub use plot::Plot;
pub use run_state::RunState;
pub use stored_run::{Axes, SavedPoint, StoredRun};

/// The program of the README is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
