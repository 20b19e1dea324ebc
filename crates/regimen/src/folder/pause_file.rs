//! The request of another process to pause.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::callback::clock::Clock;
use crate::callback::{Event, Events, Ranks};
use crate::{BoxError, Callback, State};

/// Pauses the run when a file named `PAUSE` is in its folder, and removes the file.
///
/// It is looked for at the end of a step, once a second. Between two looks a step costs one read of the
/// clock. A file that was there before the first call is removed with a notice and pauses nothing.
#[derive(Debug)]
pub(super) struct PauseFile {
    path: PathBuf,
    clock: Clock,
    /// The time of the newest look. `None` before the first call.
    looked: Option<Instant>,
}

/// The least time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

impl PauseFile {
    pub(super) fn in_dir(dir: &Path) -> Self {
        PauseFile::with_clock(dir, Instant::now)
    }

    fn with_clock(dir: &Path, clock: Clock) -> Self {
        PauseFile { path: dir.join("PAUSE"), clock, looked: None }
    }

    /// Whether the file was there. It is removed; a failure of that is a notice.
    fn take(&self, state: &mut State) -> bool {
        let is_there = fs::symlink_metadata(&self.path).is_ok();
        if is_there && let Err(cause) = fs::remove_file(&self.path) {
            state.notify(format!("cannot remove {}: {cause}; remove it by hand", self.path.display()));
        }
        is_there
    }
}

impl<U: ?Sized> Callback<U> for PauseFile {
    fn events(&self) -> Events {
        Events::of(&[
            Event::TrainStart,
            Event::TrainStepEnd,
            Event::EvalStart,
            Event::EvalStepEnd,
            Event::PredictStart,
            Event::PredictStepEnd,
        ])
    }

    fn ranks(&self) -> Ranks {
        Ranks::First
    }

    fn on_event(&mut self, _event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        let now = (self.clock)();
        let Some(looked) = self.looked else {
            self.looked = Some(now);
            if self.take(state) {
                let path = self.path.display();
                state.notify(format!("{path} was there before the start: an old request, and no pause now"));
            }
            return Ok(());
        };
        if INTERVAL <= now.saturating_duration_since(looked) {
            self.looked = Some(now);
            if self.take(state) {
                state.pause(format!("{} was created", self.path.display()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Run;
    use crate::callback::clock::by_hand::{Takes, now};
    use crate::run::{Ended, Train};

    /// The training steps of the pauses, and the notices, if the file is made before `made`, counted in completed
    /// steps. Every fourth of the 16 steps takes a second, and the others no time.
    fn check(made: &[u64], steps: &[u64], is_old: bool) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("PAUSE");
        if is_old {
            fs::write(&file, "").unwrap();
        }
        let (mut unit, mut paused, mut notices) = (Takes, Vec::new(), Vec::new());
        let mut run = Run::new(&mut unit)
            .on(Event::TrainStepStart, |state: &mut State, _: &mut Takes| {
                if made.contains(&state.train_progress().steps) {
                    fs::write(&file, "").unwrap();
                }
            })
            .callback(PauseFile::with_clock(dir.path(), now));
        loop {
            let report = run.train(&[0, 0, 0, 1], Train::steps(16)).unwrap();
            assert!(!file.exists());
            notices.extend(report.notices);
            let Ended::Paused(why) = report.ended else { break };
            assert_eq!(why, format!("{} was created", file.display()));
            paused.push(report.train.steps);
        }
        assert_eq!(paused, steps);
        let old = format!("{} was there before the start: an old request, and no pause now", file.display());
        assert_eq!(notices, if is_old { vec![old] } else { Vec::new() });
    }

    #[test]
    fn a_run_pauses_at_the_step_at_which_a_second_has_passed() {
        check(&[], &[], false);
        check(&[3], &[4], false);
        check(&[0], &[4], false);
        check(&[4], &[8], false);
        check(&[1, 9, 14], &[4, 12, 16], false);
    }

    #[test]
    fn an_old_file_pauses_nothing_and_is_told() {
        check(&[], &[], true);
        check(&[6], &[8], true);
    }
}
