//! Where the time of a run goes.

mod account;
mod recorder;
mod spans;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use regimen_core::run::Probe;
use serde::Serialize;

use self::recorder::{Recorder, Shared};
use crate::BoxError;
use crate::engine::Work;
use crate::replace_file::{replace_file, replace_with};
use crate::summary::Summary;
use crate::timer::{Timer, Timing};

/// The profile of a run: the times of everything in its calls, as a tree.
///
/// It displays as a [sentence](Profile::sentence) and a table. [`write_json`](Profile::write_json) and
/// [`write_trace`](Profile::write_trace) write files; [`RunFolder::profile`](crate::folder::RunFolder::profile) does so after
/// each call that trains. A clone is the same profile. The times are of this process, and are not saved.
///
/// ```
/// # use regimen::run::Train;
/// # use regimen::unit::TrainUnit;
/// # use regimen::{BoxError, Error, Run, State};
/// use regimen::profile::Profile;
///
/// # struct Count(u64);
/// # impl TrainUnit for Count {
/// #     type Batch = u64;
/// #     fn train_step(&mut self, _: &mut State, batch: u64) -> Result<(), BoxError> {
/// #         self.0 += batch;
/// #         Ok(())
/// #     }
/// # }
/// # fn main() -> Result<(), BoxError> {
/// # let mut unit = Count(0);
/// # macro_rules! println { ($($part:tt)*) => { let _ = format!($($part)*); }; }
/// let profile = Profile::new();
/// Run::new(&mut unit).probe(profile.probe()).train(&[1, 2, 3], Train::epochs(2))?;
/// println!("{profile}");
/// let steps = profile.timer().get(&["train", "training", "step"]).map(|block| block.count());
/// assert_eq!(steps, Some(6));
/// # Ok(())
/// # }
/// ```
///
/// # Blocks
///
/// The outermost blocks are the calls: `train`, `fit`, `evaluate`, `predict`. In them are `training`, `evaluation` and
/// `prediction`, with
///
/// | block | time |
/// |---|---|
/// | `fetch` | waiting for the next batch |
/// | `step` | the step of the unit; its parts are those of [`AutoUnit`](crate::AutoUnit) and of [`State::time`](crate::State::time) |
/// | `callbacks` | the callbacks and logs, one by one |
/// | `saver` | the saver, on this thread: what a save costs it |
/// | `open data` | beginning an epoch of the data, or going on in one |
/// | `start`, `epoch start`, `epoch end`, `end` | the unit's hooks |
/// | `loop` | the loop itself, and agreements with other ranks |
///
/// Parts of a step of `AutoUnit` are `transfer` (the batch to the device), `forward` (the task), `read loss`, `backward`,
/// `update` with `exchange` (between ranks), `optimizer` and `average`, and the hooks by their names. The time of an
/// evaluation of `fit` is not in `training`. What other threads do is in no block: workers of loaders, a save in the
/// background.
///
/// On a device that computes asynchronously a part may return before its work is done, and the wait is in the part that
/// reads a number. [`with_clock`](Profile::with_clock) takes a clock that first waits for the device.
#[derive(Clone)]
pub struct Profile {
    recorder: Arc<Shared>,
}

impl Profile {
    /// A profile on the clock of the system, with the newest 100,000 times in its trace.
    pub fn new() -> Self {
        let origin = Instant::now();
        Profile::with_clock(move || origin.elapsed())
    }

    /// A profile on a clock that tells the time since any origin, and never goes back.
    pub fn with_clock(clock: impl FnMut() -> Duration + Send + 'static) -> Self {
        Profile { recorder: Arc::new(Shared::new(Recorder::new(Box::new(clock)))) }
    }

    /// Keeps the newest `times` times for the [trace](Profile::write_trace), of 24 bytes each.
    pub fn trace(self, times: usize) -> Self {
        self.recorder.lock().spans.set_limit(times);
        self
    }

    /// The floating-point operations that training takes per sample, forward and backward: for
    /// [`flops_per_second`](Profile::flops_per_second).
    pub fn flops_per_sample(self, flops: f64) -> Self {
        self.recorder.lock().flops_per_sample = Some(flops);
        self
    }

    /// Takes the operations per sample from a summary with the costs of a step of `samples` samples. A multiply-accumulate
    /// counts as two operations. Nothing changes if the engine does not know them.
    ///
    /// [`ModuleSummary::profile`](crate::callback::ModuleSummary::profile) does so in a run.
    pub fn measured(&self, summary: &Summary, samples: u64) {
        let flops = |work: Option<Work>| work.and_then(|work| work.flops);
        if let (Some(forward), Some(backward)) = (flops(summary.forward), flops(summary.backward))
            && samples > 0
        {
            let flops = 2.0 * (forward as f64 + backward as f64) / samples as f64;
            self.recorder.lock().flops_per_sample = Some(flops);
        }
    }

    /// The floating-point operations per second of which the device is capable: for
    /// [`utilisation`](Profile::utilisation).
    pub fn peak_flops(self, flops_per_second: f64) -> Self {
        self.recorder.lock().peak_flops = Some(flops_per_second);
        self
    }

    /// The probe of a run: given to [`Run::probe`](crate::Run::probe). One run at a time has it.
    pub fn probe(&self) -> Arc<dyn Probe> {
        self.recorder.clone()
    }

    /// The times so far, as a timer that is paused. A block under way has the time until now.
    pub fn timer(&self) -> Timer {
        self.recorder.lock().until_now().0
    }

    /// The sum of all calls, from their beginning to their end or until now.
    pub fn wall(&self) -> Duration {
        self.recorder.lock().until_now().1
    }

    /// Where the time of training goes, and what would help. Empty before the first step.
    ///
    /// ```text
    /// 41 % of training is waiting for data: more workers, or a prefetch; forward 30 %, backward 22 %
    /// ```
    pub fn sentence(&self) -> String {
        account::sentence(&self.timer())
    }

    /// The floating-point operations per second that training steps achieve, over the time of all training. Among several
    /// ranks, those of this one. Returns `None` if those [per sample](Profile::flops_per_sample) are not known.
    pub fn flops_per_second(&self) -> Option<f64> {
        self.account().flops_per_second
    }

    /// The [operations per second](Profile::flops_per_second) as a share of the
    /// [peak](Profile::peak_flops). Returns `None` if one of them is not known.
    pub fn utilisation(&self) -> Option<f64> {
        self.account().utilisation
    }

    /// Replaces the file at `path` with the tree as JSON: an object with `sentence`, `wall_seconds`,
    /// `flops_per_second` and `utilisation` (`null` if unknown), and `blocks`. A block has `name`, `count`, `seconds` (the
    /// sum), `p50_seconds` and `p90_seconds` (of the newest 4,096), and `blocks`.
    pub fn write_json(&self, path: impl AsRef<Path>) -> Result<(), BoxError> {
        let Account { timer, wall, flops_per_second, utilisation } = self.account();
        let file = File {
            sentence: account::sentence(&timer),
            wall_seconds: wall.as_secs_f64(),
            flops_per_second,
            utilisation,
            blocks: Block::in_order(&mut timer.timings().peekable(), 0),
        };
        let path = path.as_ref();
        let mut json = serde_json::to_vec_pretty(&file)?;
        json.push(b'\n');
        replace_file(path, &json).map_err(|cause| cannot_write(path, &cause))
    }

    /// Replaces the file at `path` with the newest times as a trace of Chrome's format, which
    /// Perfetto and `chrome://tracing` open.
    pub fn write_trace(&self, path: impl AsRef<Path>) -> Result<(), BoxError> {
        let recorder = self.recorder.lock();
        let path = path.as_ref();
        replace_with(path, |path| recorder.spans.write(&recorder.names(), path))
            .map_err(|cause| cannot_write(path, &cause))
    }

    fn account(&self) -> Account {
        let mut recorder = self.recorder.lock();
        let (timer, wall) = recorder.until_now();
        let seconds = account::training(&timer).as_secs_f64();
        let flops = recorder.flops_per_sample.map(|flops| flops * recorder.samples() as f64);
        let flops_per_second = flops.filter(|_| seconds > 0.0).map(|flops| flops / seconds);
        let peak = recorder.peak_flops.filter(|peak| *peak > 0.0);
        let utilisation = flops_per_second.and_then(|flops| Some(flops / peak?));
        Account { timer, wall, flops_per_second, utilisation }
    }
}

/// Everything of a profile at one moment.
struct Account {
    timer: Timer,
    wall: Duration,
    flops_per_second: Option<f64>,
    utilisation: Option<f64>,
}

fn cannot_write(path: &Path, cause: &io::Error) -> BoxError {
    format!("cannot write {}: {cause}", path.display()).into()
}

impl Default for Profile {
    fn default() -> Self {
        Profile::new()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { timer, flops_per_second, utilisation, .. } = self.account();
        writeln!(f, "{}", account::sentence(&timer))?;
        if let Some(flops) = flops_per_second {
            write!(f, "{flops:.3e} FLOP/s")?;
            match utilisation {
                Some(share) => writeln!(f, ", {:.1} % of the peak", 100.0 * share)?,
                None => writeln!(f)?,
            }
        }
        writeln!(f)?;
        timer.fmt(f)
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").field("timer", &self.timer()).finish_non_exhaustive()
    }
}

/// The file of a profile.
#[derive(Serialize)]
struct File {
    sentence: String,
    wall_seconds: f64,
    flops_per_second: Option<f64>,
    utilisation: Option<f64>,
    blocks: Vec<Block>,
}

#[derive(Serialize)]
struct Block {
    name: String,
    count: u64,
    seconds: f64,
    p50_seconds: Option<f64>,
    p90_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    blocks: Vec<Block>,
}

impl Block {
    /// The next blocks of `timings` at `depth`, with those in them.
    fn in_order<'t>(
        timings: &mut std::iter::Peekable<impl Iterator<Item = Timing<'t>>>,
        depth: usize,
    ) -> Vec<Block> {
        let mut blocks = Vec::new();
        while let Some(timing) = timings.next_if(|timing| timing.depth() == depth) {
            let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
            blocks.push(Block {
                name: timing.name().to_owned(),
                count: timing.count(),
                seconds: timing.total().as_secs_f64(),
                p50_seconds: seconds(timing.percentile(50.0)),
                p90_seconds: seconds(timing.percentile(90.0)),
                blocks: Block::in_order(timings, depth + 1),
            });
        }
        blocks
    }
}
