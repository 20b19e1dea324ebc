//! Every call of the system that a resume, a save and a prune make, killed once and failed once with
//! each of the errors that disks have.

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

/// Calls about files and directories; those about memory and programs are left out.
const TRACED: &str = "%file,%desc";
const LEFT_OUT: [&str; 4] = ["execve", "mmap", "exit_group", "munmap"];

/// What a disturbed training begins with, and how far it is to come: it resumes, and saves and
/// prunes twice, so that one can fail and the other be seen to go on.
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

/// Does `inject` to each call in turn; on one thread, where every call is met alone, and as usual.
fn injected(mut tally: Tally, inject: &str) -> Result<Tally, BoxError> {
    let (mut met, mut named) = (0, 0);
    for how in [How::OnOneThread, How::AsUsual] {
        let stage = Stage::new(how)?;
        let calls = stage.calls()?;
        if calls.is_empty() {
            return Ok(tally.not_run("strace saw no call: may it trace processes here?"));
        }
        named = calls.len();
        for (call, numbers) in calls {
            for number in numbers {
                let outcome = stage.disturb(&call, &format!("{inject}:when={number}"))?;
                // Threads may share the work out in another way this time.
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

/// A run directory that is put back before each fault.
struct Stage {
    folder: PathBuf,
    training: Training,
}

impl Stage {
    fn new(how: How) -> Result<Self, BoxError> {
        // In memory where that can be: the faults come from strace, and a disk would only be slow.
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

    /// Disturbs `call`, checks what is left, and goes on. None where the call was not met.
    fn disturb(&self, call: &str, inject: &str) -> Result<Option<Result<(), String>>, BoxError> {
        self.put_back()?;
        let mut command = strace::traced(&self.training, &self.log(), call, Some(inject))?;
        let over = Trainer::start(&mut command)?.end()?;
        let log = fs::read_to_string(self.log())?;
        let was_met = log.contains("INJECTED") || log.contains("killed by SIGKILL");
        // A number that is met in the training of one thread may be met at the start of another.
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
        // What cannot be removed is left to the system's own tidying.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Copies a folder with all it holds.
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
