//! The environment of a start.

use std::env;
use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;

use serde::Serialize;

use crate::State;
use crate::state::{Expected, Phase, Progress};
use crate::system::host_name;
use crate::time::{since_1970, utc};

/// The environment of this process, for a line of `environment.jsonl`.
#[derive(Debug, Serialize)]
pub(super) struct Environment {
    time: String,
    regimen: &'static str,
    os: &'static str,
    arch: &'static str,
    cpus: Option<usize>,
    host: String,
    process: u32,
    folder: Option<String>,
    command: Vec<String>,
    /// The commit of the working directory, with `-dirty` behind it if files differ from it.
    git: Option<String>,
    /// Steps that were made before this start.
    step: u64,
    expected: Training,
}

/// The training that is expected, as far as it is known: see [`Expected`](crate::state::Expected).
#[derive(Debug, Serialize)]
struct Training {
    steps_in_epoch: Option<u64>,
    epochs: Option<u64>,
    steps: Option<u64>,
}

impl Environment {
    /// The environment now, as a training begins.
    pub(super) fn now(state: &State) -> Self {
        let Progress { steps: step, .. } = state.train_progress();
        let Expected { steps_in_epoch, epochs, steps } = state.expected(Phase::Train);
        let folder = env::current_dir().ok();
        Environment {
            time: utc(since_1970()),
            regimen: env!("CARGO_PKG_VERSION"),
            os: env::consts::OS,
            arch: env::consts::ARCH,
            cpus: available_parallelism().ok().map(Into::into),
            host: host_name(),
            process: std::process::id(),
            git: folder.as_deref().and_then(git_commit),
            folder: folder.map(|folder| folder.display().to_string()),
            command: env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect(),
            step,
            expected: Training { steps_in_epoch, epochs, steps },
        }
    }
}

/// Asks the program `git`. Returns `None` if it is missing, or if `folder` is in no repository.
fn git_commit(folder: &Path) -> Option<String> {
    let mut git = Command::new("git");
    let output = git
        .args(["describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"])
        .current_dir(folder)
        .output();
    let output = output.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim_end().to_owned())
}
