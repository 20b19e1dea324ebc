//! The state of a run, as its folder shows it.

use std::fs::TryLockError;
use std::path::Path;

use serde::Serialize;

use crate::history::History;
use crate::lines;

/// The state of a run, as its folder shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// A process holds the lock of the folder.
    Running,
    /// Training is complete, or was ended by a rule.
    Finished,
    /// Its last call was stopped before its end, and it can go on.
    Paused,
    /// Its last call ended with an error.
    Failed,
    /// Its last start left neither a report nor an error: the process was killed, or `log.txt` is missing.
    Unknown,
}

impl RunState {
    /// The state of the run in `folder`.
    pub(crate) fn of(folder: &Path, history: &History) -> Self {
        if is_locked(&folder.join("LOCK")) {
            return RunState::Running;
        }
        // Notices of what is torn down follow the last words of a run.
        let last = history.notices.iter().rev().find_map(|notice| Some((notice, last_words(&notice.text)?)));
        match (last, history.newest_start()) {
            // Times of one form are in the order of their texts.
            (Some((notice, _)), Some(start)) if notice.time.as_str() < start => RunState::Unknown,
            (Some((_, state)), _) => state,
            (None, _) => RunState::Unknown,
        }
    }

    /// A word: `running`, `finished`, `paused`, `failed` or `unknown`.
    pub fn name(self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Finished => "finished",
            RunState::Paused => "paused",
            RunState::Failed => "failed",
            RunState::Unknown => "unknown",
        }
    }
}

/// The state after a report or an error. `None` after another notice.
pub(crate) fn last_words(text: &str) -> Option<RunState> {
    if text.starts_with("error: ") {
        return Some(RunState::Failed);
    }
    let (ended, _) = text.strip_prefix("training ")?.split_once([' ', ':'])?;
    match ended {
        "complete" | "finished" => Some(RunState::Finished),
        "paused" => Some(RunState::Paused),
        _ => None,
    }
}

/// Whether a process holds the lock. It is tried for a moment as a reader, which leaves the file as it is.
fn is_locked(path: &Path) -> bool {
    let Ok(Some(file)) = lines::open(path) else { return false };
    matches!(file.into_inner().try_lock_shared(), Err(TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use regimen::checkpoint::LockFile;

    use super::*;

    #[test]
    fn the_state_is_that_of_the_last_words_or_of_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let check = |text: &str, expected| {
            let entry = |text| format!("2026-11-29T08:01:00Z step 4: {text}\n");
            // A notice of what ends after the loop changes nothing.
            for log in [entry(text), entry(text) + &entry("the saver: a slow disk")] {
                fs::write(folder.path().join("log.txt"), log).unwrap();
                let history = History::read(folder.path()).unwrap();
                assert_eq!(RunState::of(folder.path(), &history), expected, "{text}");
            }
        };
        check("training complete after 1 epoch, 4 steps", RunState::Finished);
        check("training finished: no improvement after 4 steps", RunState::Finished);
        check("training paused: the limit after 4 steps", RunState::Paused);
        check("error: unit failed in train_step in train at epoch 0 step 4: no", RunState::Failed);
        check("error: callback Bar panicked at train step end in train at epoch 0 step 4", RunState::Failed);
        check("a slow worker in train", RunState::Unknown);
        let lock = LockFile::acquire(folder.path()).unwrap();
        check("training complete after 1 epoch, 4 steps", RunState::Running);
        drop(lock);
        let start = "{\"time\":\"2026-11-29T09:00:00Z\",\"step\":4}\n";
        fs::write(folder.path().join("environment.jsonl"), start).unwrap();
        check("training complete after 1 epoch, 4 steps", RunState::Unknown);
    }
}
