//! The saver most runs want: its settings.

mod background;
mod open;
mod restore;
mod saver;
mod saves;
mod snapshot;
mod sum_up;
mod when;

pub use saves::Saves;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use regimen_core::callback::Every;
use regimen_core::metric::Key;

use self::background::{Background, OnSaved};
use self::when::When;
use super::{Checkpoint, Goal, Keep, Lock, Snapshot, Store};

/// Saves a run to a directory, and restores it: given to [`Run::saver`](regimen_core::Run::saver).
///
/// **When.** It saves at the cadences given, whenever a call of `train` or `fit` ends, complete or
/// paused, and when one fails: that one is for the post-mortem, and never restored. A save that is
/// due together with an evaluation or the end of an epoch comes after it.
///
/// **What.** Every part of the unit's [`AppState`](regimen_core::saved::AppState), and all the run goes on
/// from beside it: progress, a half-done evaluation, metrics in flight, the callbacks' state, the
/// seed, a final stop.
///
/// **How.** The state is copied on the loop's thread and written on another, one save at a time; the
/// end of a call waits for it. One copy of the state stays in host memory between the saves of a call,
/// for the next to be made in. A checkpoint is acknowledged when it is durable, and before older ones
/// are removed: see [`Writer`](super::Writer).
///
/// **Failures.** A save that fails in the midst of training is told at the next step as a
/// [notice](regimen_core::callback::Event::Notice) and counted in [`saves`](Checkpointer::saves), and training
/// goes on; with [`stop_on_failure`](Checkpointer::stop_on_failure) it is an error. At the end of a
/// call it is always an error. Older checkpoints are as they were.
///
/// A run directory belongs to one run and has one writer at a time. Every call, also one that
/// evaluates or predicts, takes its [`Lock`] before the unit and the callbacks hear of it, so that a
/// second process is refused before its callbacks touch a file; the lock is given back when the run
/// is dropped. Restoring takes none. To evaluate beside a training, take the weights with
/// [`Load`](super::Load), without a saver. Training that was not restored from a directory that holds
/// another run's checkpoints is refused.
///
/// ```no_run
/// use regimen::checkpoint::Checkpointer;
/// use regimen::saved::AppState;
/// use regimen::{BoxError, Run};
/// use regimen::auto_unit::EVAL_LOSS;
/// use regimen::callback::Every;
/// use regimen::run::{Report, Train};
/// use regimen::unit::TrainUnit;
///
/// fn go<U: AppState + TrainUnit<Batch = u64>>(unit: &mut U, data: &[u64]) -> Result<Report, BoxError> {
///     let saver = Checkpointer::new("runs/digits")
///         .every(Every::steps(500))
///         .keep_last(3)
///         .keep_min(1, EVAL_LOSS);
///     let mut run = Run::new(unit).saver(saver);
///     run.restore_latest()?;
///     Ok(run.train(data, Train::epochs(10))?)
/// }
/// ```
#[must_use]
pub struct Checkpointer {
    pub(crate) dir: PathBuf,
    /// None is this machine's disk, where a lock keeps a second writer away.
    pub(crate) store: Option<Arc<dyn Store>>,
    pub(crate) when: When,
    pub(crate) keep: Keep,
    pub(crate) best: Option<(Key, Goal)>,
    pub(crate) restores_best: bool,
    pub(crate) in_background: bool,
    pub(crate) skips: bool,
    pub(crate) stops_on_failure: bool,
    pub(crate) post_mortem: bool,
    pub(crate) hyper_parameters: BTreeMap<String, String>,
    pub(crate) must_match: bool,
    pub(crate) saves_not_finite: bool,
    /// Parts that a restore leaves as they are.
    pub(crate) left_out: Vec<String>,
    pub(crate) on_saved: Option<OnSaved>,
    pub(crate) saves: Saves,
    /// The first setting that cannot be used, returned when the run starts.
    pub(crate) mistake: Option<&'static str>,

    /// Identifies the run over all its restarts; none before the first save or restore.
    pub(crate) run: Option<String>,
    /// The lock of the run directory, from the first call on.
    pub(crate) lock: Option<Arc<Lock>>,
    pub(crate) background: Option<Background>,
    /// A call of `train` or `fit` is under way.
    pub(crate) training: bool,
    /// What was measured since the last step.
    pub(crate) measured: BTreeMap<String, f64>,
    /// The newest snapshot, as long as no step was made since.
    pub(crate) recent: Option<Arc<Snapshot>>,
    /// The unit holds the best weights, and not those of the run's end.
    pub(crate) holds_best: bool,
    /// The arrays that held infinity when the run began, or was restored.
    pub(crate) infinite: Option<Arc<BTreeSet<String>>>,
    /// A snapshot that nobody needs any more, whose memory the next one takes.
    pub(crate) spent: Option<Arc<Snapshot>>,
}

impl Checkpointer {
    /// One that saves to the directory `dir` at the end of every call and keeps every checkpoint.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Checkpointer {
            dir: dir.into(),
            store: None,
            when: When::never(),
            keep: Keep::all(),
            best: None,
            restores_best: false,
            in_background: true,
            skips: false,
            stops_on_failure: false,
            post_mortem: true,
            hyper_parameters: BTreeMap::new(),
            must_match: false,
            saves_not_finite: false,
            left_out: Vec::new(),
            on_saved: None,
            saves: Saves::default(),
            mistake: None,
            run: None,
            lock: None,
            background: None,
            training: false,
            measured: BTreeMap::new(),
            recent: None,
            holds_best: false,
            infinite: None,
            spent: None,
        }
    }

    /// Uses another store than this machine's disk. There is no lock on it.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Saves at this cadence of the training; a second call replaces the first.
    pub fn every(mut self, every: Every) -> Self {
        self.when.every = every;
        self
    }

    /// Saves after every `n`-th evaluation of `fit`.
    pub fn every_evaluations(mut self, n: u64) -> Self {
        self.when.evaluations = Some(n);
        self
    }

    /// Saves after the first step that ends `seconds` or more after the last save.
    pub fn every_seconds(mut self, seconds: u64) -> Self {
        self.when.seconds = Some(seconds);
        self
    }

    /// Keeps the `n` saved last, and those that other rules ask for. All by default.
    pub fn keep_last(mut self, n: usize) -> Self {
        self.refuse_zero(n as u64, "`Checkpointer::keep_last`: the newest is always kept; give 1 or more");
        self.keep = self.keep.last(n);
        self
    }

    /// Keeps the `n` with the smallest values of `metric`, and the newest; saves after every epoch of
    /// training or evaluation in which it is measured.
    ///
    /// What counts is the value over the epoch that has just ended. Of equal values the earlier is
    /// the better; one that is not finite is never among the best. The metric of the last call is
    /// the one that "best" refers to in a restore.
    pub fn keep_min(mut self, n: usize, metric: Key) -> Self {
        self.refuse_zero(n as u64, "`Checkpointer::keep_min`: 0 keeps none; give 1 or more");
        self.keep_best(n, metric, Goal::Min)
    }

    /// The same with the largest values of `metric`.
    pub fn keep_max(mut self, n: usize, metric: Key) -> Self {
        self.refuse_zero(n as u64, "`Checkpointer::keep_max`: 0 keeps none; give 1 or more");
        self.keep_best(n, metric, Goal::Max)
    }

    fn keep_best(mut self, n: usize, metric: Key, goal: Goal) -> Self {
        self.keep = self.keep.best(n, metric.name(), goal);
        self.best = Some((metric, goal));
        self
    }

    /// Keeps those of steps that are multiples of `steps` for ever, and the newest.
    pub fn keep_every_steps(mut self, steps: u64) -> Self {
        self.refuse_zero(steps, "`Checkpointer::keep_every_steps`: 0 keeps none; give 1 or more");
        self.keep = self.keep.every_steps(steps);
        self
    }

    /// Puts the unit's parts of the best checkpoint back when a training is over: complete, or
    /// finished by a rule such as early stopping, but not when it is paused. Progress and callbacks
    /// stay; the newest checkpoint is still that of the end, and no pass by hand is saved over it. Needs
    /// [`keep_min`](Checkpointer::keep_min) or [`keep_max`](Checkpointer::keep_max).
    pub fn restore_best_at_end(mut self) -> Self {
        self.restores_best = true;
        self
    }

    /// Writes on the loop's thread, which waits until each checkpoint is durable.
    pub fn in_foreground(mut self) -> Self {
        self.in_background = false;
        self
    }

    /// Leaves out a save that is due while another is being written, in place of waiting for that.
    /// What is saved at the end of a call always waits.
    pub fn skip_while_busy(mut self) -> Self {
        self.skips = true;
        self
    }

    /// Makes a save that fails an error of the run, at the next step.
    pub fn stop_on_failure(mut self) -> Self {
        self.stops_on_failure = true;
        self
    }

    /// Does not save when a call fails.
    pub fn without_post_mortem(mut self) -> Self {
        self.post_mortem = false;
        self
    }

    /// Saves weights that are not finite too. By default they are never saved over those that are: the
    /// save fails, and only what is kept for the post-mortem may hold them.
    pub fn allow_not_finite(mut self) -> Self {
        self.saves_not_finite = true;
        self
    }

    /// Leaves a part of the unit as it is in a restore, whether it was saved or not: `optimizer` for the
    /// same run with another optimizer. What was left out is told, and listed in
    /// [`Restored::differences`](regimen_core::run::Restored::differences).
    pub fn restore_without(mut self, part: impl Into<String>) -> Self {
        self.left_out.push(part.into());
        self
    }

    /// Notes a hyper-parameter of the run, which is saved with it as text. On a restore, what is
    /// different from the saved ones, missing or new is told as a notice. Where none are given at
    /// all, those saved stay.
    pub fn hyper_parameter(mut self, name: impl Into<String>, value: impl fmt::Display) -> Self {
        self.hyper_parameters.insert(name.into(), value.to_string());
        self
    }

    /// Makes a difference in hyper-parameters an error of the restore.
    pub fn hyper_parameters_must_match(mut self) -> Self {
        self.must_match = true;
        self
    }

    /// Calls `on_saved` with every checkpoint that was acknowledged, on the thread that wrote it. A
    /// panic of it counts as a failure to save.
    pub fn on_saved(mut self, on_saved: impl Fn(&Checkpoint) + Send + Sync + 'static) -> Self {
        self.on_saved = Some(Arc::new(on_saved));
        self
    }

    /// What it saved and could not save; can be asked when the run is over and gone.
    pub fn saves(&self) -> Saves {
        self.saves.clone()
    }

    fn refuse_zero(&mut self, n: u64, mistake: &'static str) {
        if n == 0 {
            self.mistake.get_or_insert(mistake);
        }
    }
}

impl fmt::Debug for Checkpointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpointer")
            .field("dir", &self.dir)
            .field("when", &self.when)
            .field("keep", &self.keep)
            .field("saves", &self.saves)
            .finish_non_exhaustive()
    }
}
