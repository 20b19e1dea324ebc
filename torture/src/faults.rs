//! System call faults: each call of a resume, a save and a prune is killed once, and fails once
//! with each common disk error.

use std::fs;
use std::path::{Path, PathBuf};

use regimen::BoxError;

use crate::kills::goes_on;
use crate::strace;
use crate::tally::Tally;
use crate::train::{How, Training};
use crate::trainer::Trainer;
use crate::witness::Witness;

const INJECTED: [(&str, &str); 4] = [
    ("calls killed", "signal=SIGKILL"),
    ("calls failed with ENOSPC", "error=ENOSPC"),
    ("calls failed with EIO", "error=EIO"),
    ("calls failed with EROFS", "error=EROFS"),
];

/// System calls on files and directories. Calls on memory and processes are left out.
const TRACED: &str = "%file,%desc";
const LEFT_OUT: [&str; 4] = ["execve", "mmap", "exit_group", "munmap"];

/// The step at which a disturbed run resumes, and its last step. It saves and prunes twice, so that
/// one attempt can fail and the next be seen to succeed.
const BEGINS: u64 = 2;
const ENDS: u64 = 4;

pub(crate) fn faults() -> Result<Vec<Tally>, BoxError> {
    let mut tallies = Vec::new();
    for (name, inject) in INJECTED {
        let tally = Tally::new(name, 0);
        tallies.push(match strace::is_here() {
            true => injected(tally, inject)?,
            false => tally.not_run("strace is not installed"),
        });
    }
    Ok(tallies)
}

/// Applies `inject` to each call in turn: on one thread, one call at a time, and then as usual.
fn injected(mut tally: Tally, inject: &str) -> Result<Tally, BoxError> {
    let (mut met, mut named) = (0, 0);
    for how in [How::OnOneThread, How::AsUsual] {
        let stage = Stage::new(how)?;
        let calls = stage.calls()?;
        if calls.is_empty() {
            return Ok(tally.not_run("strace saw no call: is tracing permitted here?"));
        }
        named = calls.len();
        for (call, numbers) in calls {
            for number in numbers {
                let outcome = stage.disturb(&call, &format!("{inject}:when={number}"))?;
                // Threads may divide the calls differently this time.
                if let Some(outcome) = outcome {
                    met += 1;
                    tally.count(outcome.map_err(|why| format!("{call} {number}, {how:?}: {why}")));
                }
            }
        }
    }
    tally.expect(met);
    tally.detail = format!("of {named} names, ");
    Ok(tally)
}

/// A run directory that is restored before each fault.
struct Stage {
    folder: PathBuf,
    training: Training,
}

impl Stage {
    fn new(how: How) -> Result<Self, BoxError> {
        // In memory if possible: strace injects the faults, and a disk would only be slow.
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory } else { Path::new(".") };
        let folder = base.join(format!("regimen-faults-{}-{how:?}", std::process::id()));
        fs::create_dir(&folder)?;
        let training = Training { steps: ENDS, how, ..Training::new(folder.join("run")) };
        let stage = Stage { folder, training };
        Training { steps: BEGINS, how, ..Training::new(stage.saved()) }.run()?.success()?;
        Ok(stage)
    }

    fn saved(&self) -> PathBuf {
        self.folder.join("saved")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("strace")
    }

    /// The calls of an undisturbed training.
    fn calls(&self) -> Result<strace::Calls, BoxError> {
        self.put_back()?;
        let mut command = strace::traced(&self.training, &self.log(), TRACED, None)?;
        Trainer::start(&mut command)?.end()?.success()?;
        let mut calls = strace::calls(&fs::read_to_string(self.log())?);
        calls.retain(|name, _| !LEFT_OUT.contains(&name.as_str()));
        Ok(calls)
    }

    /// Disturbs `call`, checks the run directory and resumes. Returns `None` if the call did not occur.
    fn disturb(&self, call: &str, inject: &str) -> Result<Option<Result<(), String>>, BoxError> {
        self.put_back()?;
        let mut command = strace::traced(&self.training, &self.log(), call, Some(inject))?;
        let over = Trainer::start(&mut command)?.end()?;
        let log = fs::read_to_string(self.log())?;
        let was_met = log.contains("INJECTED") || log.contains("killed by SIGKILL");
        // A call number seen in single-threaded training may occur at start-up here.
        let has_begun = over.lines.iter().any(|line| line == "begin");
        if !was_met || !has_begun {
            return Ok(None);
        }
        let mut witness = Witness::of(&self.training.dir, BEGINS);
        let stopped_well = match over.status.code() {
            Some(0 | 1) => Ok(()),
            None if inject.contains("SIGKILL") => Ok(()),
            _ => Err(format!("the training ended with {}: {}", over.status, over.errors.trim())),
        };
        let kept = witness.hear_disturbed(&over).and(stopped_well);
        Ok(Some(match kept {
            Ok(()) => goes_on(&self.training, &mut witness)?,
            broken => broken,
        }))
    }

    fn put_back(&self) -> Result<(), BoxError> {
        let dir = &self.training.dir;
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        copy(&self.saved(), dir)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Anything that cannot be removed is left to the system's temporary-file cleanup.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Copies a folder recursively.
fn copy(from: &Path, to: &Path) -> Result<(), BoxError> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to)?,
            false => drop(fs::copy(entry.path(), to)?),
        }
    }
    Ok(())
}
