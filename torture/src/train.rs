//! The tortured process: an ordinary training run that reports its progress on its output.
//!
//! ```text
//! begin           before anything is read or written
//! from 12         the first step, 0 for a new run; signals are handled from here on
//! step 13 NANOS   a step begins, at this time
//! saved 13        a checkpoint was acknowledged
//! end 20          the run is over, after this many steps
//! ```

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use regimen::callback::Every;
use regimen::checkpoint::{Checkpointer, Disk};
use regimen::run::Train;
use regimen::signal::Signals;
use regimen::{BoxError, Run};

use crate::unsynced::Unsynced;
use crate::walk::Walk;

/// The settings of a training process.
#[derive(Clone, Debug)]
pub(crate) struct Training {
    pub(crate) dir: PathBuf,
    /// Total steps.
    pub(crate) steps: u64,
    /// Steps between two saves.
    pub(crate) every: u64,
    pub(crate) keep_last: usize,
    /// Step time in milliseconds.
    pub(crate) step_ms: u64,
    pub(crate) how: How,
}

/// How checkpoints are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum How {
    /// The defaults: with a lock, in the background, two parts at a time.
    AsUsual,
    /// On one thread, in the same order each time, and without a lock.
    OnOneThread,
    /// On one thread and without any sync. A test of power cuts must detect it.
    Unsynced,
}

impl Training {
    /// Creates an endless training run in `dir` that saves at every step and keeps two checkpoints.
    pub(crate) fn new(dir: impl Into<PathBuf>) -> Self {
        Training { dir: dir.into(), steps: u64::MAX, every: 1, keep_last: 2, step_ms: 0, how: How::AsUsual }
    }

    /// The arguments that [`train`] parses.
    pub(crate) fn args(&self) -> Vec<String> {
        let Training { dir, steps, every, keep_last, step_ms, how } = self;
        let numbers = [*steps, *every, *keep_last as u64, *step_ms].map(|number| number.to_string());
        let text = ["train".to_owned(), dir.display().to_string(), format!("{how:?}")];
        text.into_iter().chain(numbers).collect()
    }

    fn parse(args: &[&str]) -> Result<Self, BoxError> {
        let [dir, how, steps, every, keep_last, step_ms] = args else {
            return Err("usage: torture train DIR HOW STEPS EVERY KEEP_LAST STEP_MS".into());
        };
        let known = [How::AsUsual, How::OnOneThread, How::Unsynced];
        let how = known.into_iter().find(|known| format!("{known:?}") == *how).ok_or("no such HOW")?;
        Ok(Training {
            dir: dir.into(),
            steps: steps.parse()?,
            every: every.parse()?,
            keep_last: keep_last.parse()?,
            step_ms: step_ms.parse()?,
            how,
        })
    }
}

/// Trains as `args` say, from the newest checkpoint if there is one.
pub(crate) fn train(args: &[&str]) -> Result<(), BoxError> {
    let training = Training::parse(args)?;
    say(format_args!("begin"));
    let saver = Checkpointer::new(&training.dir)
        .every(Every::steps(training.every))
        .keep_last(training.keep_last)
        .on_saved(|checkpoint| say(format_args!("saved {}", checkpoint.manifest().step)));
    let saver = match training.how {
        How::AsUsual => saver,
        How::OnOneThread => saver.store(Arc::new(Disk)).in_foreground(),
        How::Unsynced => saver.store(Arc::new(Unsynced)).in_foreground(),
    };
    let mut unit = Walk::new(training.step_ms);
    let mut run = Run::new(&mut unit).saver(saver);
    let restored = run.restore_latest()?;
    let _signals = Signals::pause(&run.pause_handle())?;
    say(format_args!("from {}", restored.map_or(0, |restored| restored.step)));
    let report = run.train(&[0_u64; 100], Train::steps(training.steps))?;
    drop(run);
    say(format_args!("end {}", report.train.steps));
    Ok(())
}

/// Prints a line and ignores errors: output is not under test.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    // One write call per line, so that a kill cannot tear it.
    let _ = io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}
