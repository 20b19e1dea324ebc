//! The state of a run, as its folder shows it.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::history::History;

/// The state of a run, as its folder shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Its newest start has neither a report nor an error, and its process runs on this machine.
    Running,
    /// Training is complete, or was ended by a rule.
    Finished,
    /// Its last call was stopped before its end, and it can go on.
    Paused,
    /// Its last call ended with an error.
    Failed,
    /// Its newest start has neither a report nor an error: the process was killed, runs on another machine, or `log.txt`
    /// is missing.
    Unknown,
}

impl RunState {
    /// The state of the run with this history. Its lock is not tried: a training that starts in that moment would be
    /// refused.
    pub(crate) fn of(history: &History) -> Self {
        // Notices of what is torn down follow the last words of a run.
        let last = history.notices.iter().rev().find_map(|notice| Some((notice, last_words(&notice.text)?)));
        match (last, history.newest_start()) {
            // Times of one form are in the order of their texts.
            (Some((notice, state)), start) if start.is_none_or(|start| start <= notice.time.as_str()) => {
                state
            }
            _ if history.starts.back().is_some_and(is_alive) => RunState::Running,
            _ => RunState::Unknown,
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

/// Whether the process of a start runs on this machine. False if that cannot be known.
fn is_alive(start: &Value) -> bool {
    let processes = Path::new("/proc");
    let name = fs::read_to_string(processes.join("sys/kernel/hostname")).unwrap_or_default();
    let is_here = start.get("host").and_then(Value::as_str) == Some(name.trim());
    let process = start.get("process").and_then(Value::as_u64);
    is_here && process.is_some_and(|process| processes.join(process.to_string()).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_that_of_the_last_words_or_of_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let check = |text: &str, expected| {
            let entry = |text| format!("2026-11-29T08:01:00Z step 4: {text}\n");
            // A notice of what ends after the loop changes nothing.
            for log in [entry(text), entry(text) + &entry("the saver: a slow disk")] {
                fs::write(folder.path().join("log.txt"), log).unwrap();
                let history = History::read(folder.path()).unwrap();
                assert_eq!(RunState::of(&history), expected, "{text}");
            }
        };
        check("training complete after 1 epoch, 4 steps", RunState::Finished);
        check("training finished: no improvement after 4 steps", RunState::Finished);
        check("training paused: the limit after 4 steps", RunState::Paused);
        check("error: unit failed in train_step in train at epoch 0 step 4: no", RunState::Failed);
        check("error: callback Bar panicked at train step end in train at epoch 0 step 4", RunState::Failed);
        check("a slow worker in train", RunState::Unknown);
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let start = |process: u32| {
            let (host, time) = (host.trim(), "2026-11-29T09:00:00Z");
            let start = serde_json::json!({"time": time, "host": host, "process": process, "step": 4});
            fs::write(folder.path().join("environment.jsonl"), format!("{start}\n")).unwrap();
        };
        start(u32::MAX);
        check("training complete after 1 epoch, 4 steps", RunState::Unknown);
        if cfg!(target_os = "linux") {
            start(std::process::id());
            check("training complete after 1 epoch, 4 steps", RunState::Running);
        }
    }
}
