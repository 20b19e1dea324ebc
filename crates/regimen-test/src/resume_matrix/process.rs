//! One process per part of the run: the test program starts itself again for each.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fs};

use regimen_core::BoxError;

use super::fit::{ORDER, fit};
use super::{Cell, Leg, Outcome, ResumeFixture};

/// The environment variable with a child's task: `STOP WORKERS PREFETCH RANKS TROUBLE DIR`. A stop of 0
/// means none.
const VARIABLE: &str = "REGIMEN_RESUME_MATRIX";

/// A directory with one subdirectory per cell, removed on drop.
pub(super) struct Scratch {
    dir: PathBuf,
    cells: AtomicU64,
}

impl Scratch {
    pub(super) fn new() -> Result<Scratch, BoxError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (process, n) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = env::temp_dir().join(format!("regimen-resume-matrix-{process}-{n}"));
        fs::create_dir_all(&dir)?;
        Ok(Scratch { dir, cells: AtomicU64::new(0) })
    }

    fn next(&self) -> Result<PathBuf, BoxError> {
        let dir = self.dir.join(self.cells.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&dir)?;
        Ok(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Runs each part of `cell` in a new process of `test`, and returns the outcome.
pub(super) fn run_cell(test: &str, scratch: &Scratch, cell: &Cell) -> Result<Outcome, BoxError> {
    let dir = scratch.next()?;
    cell.legs.iter().try_for_each(|leg| run_leg(test, &dir, *leg))?;
    let outcome = Outcome::read(&dir);
    fs::remove_dir_all(&dir)?;
    outcome
}

fn run_leg(test: &str, dir: &Path, leg: Leg) -> Result<(), BoxError> {
    let Leg { stop, workers, prefetch, ranks, trouble } = leg;
    let order = format!("{} {workers} {prefetch} {ranks} {trouble} {}", stop.unwrap_or(0), dir.display());
    let mut child = Command::new(env::current_exe()?);
    let output = child.args([test, "--exact", "--nocapture"]).env(VARIABLE, order).output()?;
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    if !output.status.success() {
        return Err(format!("a process failed\n{err}").into());
    }
    if !dir.join(ORDER).exists() {
        return Err(format!("test `{test}` did nothing in another process; is that its name?\n{out}").into());
    }
    Ok(())
}

/// In a process that [`run_cell`] started, runs its part and exits.
#[track_caller]
pub(super) fn serve<F: ResumeFixture>(fixture: &F) {
    let Ok(order) = env::var(VARIABLE) else { return };
    let done = parse(&order).and_then(|(leg, dir)| fit(fixture, leg, dir));
    assert!(done.is_ok(), "this part of the run failed: {done:?}");
    std::process::exit(0);
}

fn parse(order: &str) -> Result<(Leg, &Path), BoxError> {
    let [stop, workers, prefetch, ranks, trouble, dir] = order.splitn(6, ' ').collect::<Vec<_>>()[..] else {
        return Err(format!("`{order}` is no task of a child process").into());
    };
    let stop = Some(stop.parse()?).filter(|&stop| stop != 0);
    let (workers, prefetch) = (workers.parse()?, prefetch.parse()?);
    let leg = Leg { stop, workers, prefetch, ranks: ranks.parse()?, trouble: trouble.parse()? };
    Ok((leg, Path::new(dir)))
}
