//! The promise of exact resume as a matrix that any engine can be held to: a run that is paused
//! anywhere and finished in a new process leaves the bytes of one that was never interrupted.
//!
//! The run is a fit of 60 steps with dropout and random crops, in epochs of 7 steps by a cap, with
//! accumulation windows of 3, 3 and 1, an evaluation of 3 steps every 12 steps and every 2 epochs, a
//! schedule that falls on a plateau, a group that is frozen at first, averaged weights, early
//! stopping, a CSV and a JSON-lines log, and a [`Checkpointer`]. A [`Cell`] says
//! after which of its steps it is paused by its [`PauseHandle`](regimen_core::state::PauseHandle), and how
//! many workers read its data before and after that. Each part of a cell is a process of its own, and
//! a [`Trouble`] may befall it: passes by hand over other data, a step that fails, another cap, a
//! final stop at the end of an epoch, a prediction that is paused with it.
//!
//! Compared with the run in one piece are, to the bit: every part of the last checkpoint
//! (parameters, running statistics, optimizer, averaged weights, accumulation window, scale of
//! losses, plateau, progress, metrics, the state of every callback), the metrics of every epoch, the log files, and which rows came in which step.
//!
//! Write an [`EngineFixture`] for your engine, add `impl ResumeFixture for Mine {}`, and call
//! [`run_all`] in one test, which is alone in its file where the library has one generator for the
//! whole process:
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
use regimen_core::run::Saver;

use crate::engine_suite::EngineFixture;
use outcome::Outcome;
use process::{Scratch, run_cell, serve};

pub use cell::{Cell, Leg};
pub use trouble::{Fault, PLACES, Trouble};

/// An engine whose runs are to be resumed. Nothing needs to be written beside the fixture: the first
/// method is for runs in another precision, the others are where the tests of the matrix break
/// a run, to see that it is noticed.
pub trait ResumeFixture: EngineFixture {
    /// In what the run computes: single precision.
    fn precision(&self) -> Precision {
        Precision::F32
    }

    /// What the run reads in place of `data`: `data` itself.
    fn data<D: Data>(&self, data: D) -> impl Data<Batch = D::Batch> {
        data
    }

    /// What saves and restores the run in place of `saver`: `saver` itself.
    fn saver(&self, saver: Checkpointer) -> impl Saver {
        saver
    }
}

/// Runs `cells`, and says on stderr how many there were, also where tests are captured.
///
/// # Panics
///
/// If the run of any of them differs from the one in one piece; the message names the first few.
#[track_caller]
pub fn run_all<F: ResumeFixture>(fixture: &F, cells: &[Cell]) {
    let failures = failures(fixture, cells);
    let (name, ran, failed) = (fixture.test_name(), cells.len(), failures.len());
    // What is written to the stream itself is not captured.
    let _ = writeln!(io::stderr(), "resume matrix {name}: {ran} cells, {failed} differ");
    let first: Vec<&str> = failures.iter().take(10).map(String::as_str).collect();
    assert!(first.is_empty(), "{failed} of {ran} cells differ, the first are\n{}", first.join("\n"));
}

/// Runs `cells` side by side, and says which do not end as the run in one piece, and in what.
///
/// In the processes that this starts it makes its part of the run, and does not return.
pub fn failures<F: ResumeFixture>(fixture: &F, cells: &[Cell]) -> Vec<String> {
    serve(fixture);
    let test = fixture.test_name();
    match Scratch::new().and_then(|scratch| compare_all(test, &scratch, cells)) {
        Ok(failures) => failures,
        Err(wrong) => vec![format!("the run in one piece: {wrong}")],
    }
}

fn compare_all(test: &str, scratch: &Scratch, cells: &[Cell]) -> Result<Vec<String>, BoxError> {
    let mut wholes: Vec<(Cell, Outcome)> = Vec::new();
    for whole in cells.iter().map(Cell::whole).chain([Cell::in_one_piece()]) {
        if wholes.iter().all(|(known, _)| *known != whole) {
            let outcome = run_cell(test, scratch, &whole)?;
            wholes.push((whole, outcome));
        }
    }
    let check = |cell: &Cell, found: Outcome| match wholes.iter().find(|(whole, _)| *whole == cell.whole()) {
        Some((_, whole)) => found.check(whole, cell),
        None => Err("nothing to compare it with".into()),
    };
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((n, cell)) = take(&next, cells) {
            if let Err(wrong) = run_cell(test, scratch, cell).and_then(|found| check(cell, found)) {
                failures.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((n, wrong.to_string()));
            }
        }
    };
    thread::scope(|scope| {
        // The processes wait for the disk most of the time.
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
