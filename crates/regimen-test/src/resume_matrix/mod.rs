//! Resume matrix: the conformance suite of exact resume, for any engine. A run that is paused anywhere and
//! finished in a new process must leave the same bytes as one that was never interrupted.
//!
//! The run is a fit of 60 steps with dropout and random crops, in epochs capped at 7 steps, with
//! accumulation windows of 3, 3 and 1. It has an evaluation of 3 steps every 12 steps and every 2
//! epochs, a schedule that falls on a plateau, a group that is frozen at first, averaged weights,
//! early stopping, logs as CSV, JSON lines, event files and a run of W&B, and a [`Checkpointer`].
//!
//! An [`Interface`] other than [`ByUnit`](Interface::ByUnit) has the same settings, callbacks and pauses: [`Runner`] with a metric of
//! batches and one of epochs, or [`FitLoop`] with all its stages and the weights of the best validation, in 3 epochs of
//! 26 steps and an evaluation each.
//!
//! A [`Cell`] lists the steps after which its [`PauseHandle`](regimen_core::state::PauseHandle) pauses
//! the run, and the workers that read its data before and after. Each part of a cell is a separate
//! process and may have a [`Trouble`]: manual passes over other data, a step that fails, another cap,
//! a final stop at the end of an epoch, a prediction that is paused with it, or another number of ranks.
//!
//! The outcome is compared with the uninterrupted run, bit by bit: every part of the last checkpoint
//! (parameters, running statistics, optimizer, averaged weights, accumulation window, loss scale,
//! plateau, progress, metrics, the state of every callback), the metrics of every epoch, the log
//! files, the points in event files, the records of W&B but for their times, and the rows of each step.
//!
//! The parts may run on several [ranks](regimen_core::peers), which are [`Threads`](crate::peers::Threads), have one
//! folder and share every batch. On as many ranks as the uninterrupted run ([`Cell::ranks`]) the bytes are the same. On
//! another number ([`Cell::any_ranks`]) the batches of all ranks together are the same, and numbers are within
//! [`EngineFixture::tolerance`] of those of one process. The logs of steps, which are of rank 0, are not compared.
//!
//! [`Runner`]: regimen::runner::Runner
//! [`FitLoop`]: regimen::fitloop::FitLoop
//!
//! Write an [`EngineFixture`] for your engine, add `impl ResumeFixture for Mine {}`, and call [`run_all`]
//! in one test. If the library has one generator per process, that test must be alone in its file:
//!
//! ```no_run
//! use regimen_test::resume_matrix::{Cell, ResumeFixture, run_all};
//!
//! fn resumes_to_the_bit(engine: &impl ResumeFixture) {
//!     run_all(engine, &Cell::each_stop());
//! }
//! ```

mod by_hand;
mod cell;
mod crops;
mod doors;
mod fit;
mod outcome;
mod process;
mod trouble;

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, thread};

use regimen::checkpoint::Checkpointer;
use regimen_core::BoxError;
use regimen_core::data::Data;
use regimen_core::engine::Precision;
use regimen_core::error::WithCauses;
use regimen_core::run::Saver;

use crate::engine_suite::EngineFixture;
use outcome::Outcome;
use process::{Scratch, run_cell, serve};

pub use cell::{Cell, Leg};
pub use trouble::{Fault, PLACES, Trouble};

/// The interface that a run is written with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interface {
    /// [`AutoUnit`](regimen_core::AutoUnit) and [`Run`](regimen_core::Run).
    #[default]
    ByUnit,
    /// [`Runner`](regimen::runner::Runner). Its cells have pauses and no other trouble.
    ByRunner,
    /// [`FitLoop`](regimen::fitloop::FitLoop). Its cells have pauses and no other trouble.
    ByFitLoop,
}

/// The trait of engine fixtures whose runs are resumed. All methods have defaults: the first three are for other runs,
/// and the tests of the matrix itself override the others to break a run.
pub trait ResumeFixture: EngineFixture + Clone + Send + 'static {
    /// Interface of the run. Default: [`ByUnit`](Interface::ByUnit).
    fn interface(&self) -> Interface {
        Interface::ByUnit
    }

    /// Precision of the run. Default: single precision.
    fn precision(&self) -> Precision {
        Precision::F32
    }

    /// Whether the ranks of the run [shard](regimen_core::AutoUnit::shard_optimizer) the optimizer. Default: no.
    fn shards_optimizer(&self) -> bool {
        false
    }

    /// Replaces the data of the run. Default: `data` itself.
    fn data<D: Data>(&self, data: D) -> impl Data<Batch = D::Batch> {
        data
    }

    /// Replaces the saver of the run. Default: `saver` itself.
    fn saver(&self, saver: Checkpointer) -> impl Saver {
        saver
    }
}

/// Runs `cells`, and prints their number to stderr, even if the output of tests is captured.
///
/// # Panics
///
/// If any run differs from the uninterrupted one. The message names the first few.
#[track_caller]
pub fn run_all<F: ResumeFixture>(fixture: &F, cells: &[Cell]) {
    let failures = failures(fixture, cells);
    let (name, ran, failed) = (fixture.test_name(), cells.len(), failures.len());
    // Direct writes to the stream are not captured.
    let _ = writeln!(io::stderr(), "resume matrix {name}: {ran} cells, {failed} differ");
    let first: Vec<&str> = failures.iter().take(10).map(String::as_str).collect();
    assert!(first.is_empty(), "{failed} of {ran} cells differ, the first are\n{}", first.join("\n"));
}

/// Runs `cells` in parallel, and returns a description of each difference from the uninterrupted run.
///
/// In a child process it runs the process's part of a cell and does not return.
pub fn failures<F: ResumeFixture>(fixture: &F, cells: &[Cell]) -> Vec<String> {
    serve(fixture);
    match Scratch::new().and_then(|scratch| compare_all(fixture, &scratch, cells)) {
        Ok(failures) => failures,
        Err(wrong) => vec![format!("the uninterrupted run: {}", WithCauses(&*wrong))],
    }
}

fn compare_all<F: ResumeFixture>(
    fixture: &F,
    scratch: &Scratch,
    cells: &[Cell],
) -> Result<Vec<String>, BoxError> {
    let (test, tolerance) = (fixture.test_name(), fixture.tolerance());
    let mut wholes: Vec<(Cell, Outcome)> = Vec::new();
    for whole in cells.iter().map(Cell::whole).chain([Cell::in_one_piece()]) {
        if wholes.iter().all(|(known, _)| *known != whole) {
            let outcome = run_cell(test, scratch, &whole)?;
            wholes.push((whole, outcome));
        }
    }
    let check = |cell: &Cell, found: Outcome| match wholes.iter().find(|(whole, _)| *whole == cell.whole()) {
        Some((_, whole)) => found.check(whole, cell, tolerance),
        None => Err("there is no uninterrupted run to compare with".into()),
    };
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((n, cell)) = take(&next, cells) {
            if let Err(wrong) = run_cell(test, scratch, cell).and_then(|found| check(cell, found)) {
                let wrong = WithCauses(&*wrong).to_string();
                failures.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((n, wrong));
            }
        }
    };
    thread::scope(|scope| {
        // The processes mostly wait for the disk.
        let threads = 4 * thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let mut failures = failures.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    failures.sort();
    Ok(failures.into_iter().map(|(n, wrong)| format!("{}: {wrong}", cells[n])).collect())
}

fn take<'c>(next: &AtomicUsize, cells: &'c [Cell]) -> Option<(usize, &'c Cell)> {
    let n = next.fetch_add(1, Ordering::Relaxed);
    Some((n, cells.get(n)?))
}
