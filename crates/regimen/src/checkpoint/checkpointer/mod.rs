//! The saver that most runs use.

mod background;
mod cadences;
mod capture;
mod finite;
mod found;
mod in_time;
mod restore;
mod save_stats;
mod session;
mod settings;
mod together;

pub(crate) use capture::RUN;
pub use save_stats::SaveStats;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use regimen_core::callback::{Event, Events, Every};
use regimen_core::error::{ErrorKind, WithCauses};
use regimen_core::metric::Key;
use regimen_core::peers::PeerLost;
use regimen_core::run::{Moment, Report, Restored, Saver, Which};
use regimen_core::state::{Phase, Stop};
use regimen_core::{BoxError, Error};

use self::session::{Session, best_on_disk, takes_part, writes};
use self::settings::Settings;
use super::{Checkpoint, Goal, Store};
use crate::preemption::Deadline;

/// Saves a run to a directory, and restores it: given to [`Run::saver`](regimen_core::Run::saver).
///
/// **When.** It saves at the cadences given, when a call of `train` or `fit` ends, complete or
/// paused, and when one fails: that one is for the post-mortem, and never restored. A save that is
/// due together with an evaluation or the end of an epoch comes after it.
///
/// **What.** Every part of the unit's [`AppState`](regimen_core::saved::AppState), and the state of
/// the run: progress, an unfinished evaluation, metrics in flight, the callbacks' state, the
/// seed, a final stop.
///
/// **How.** The state is copied on the loop's thread and written on another, one save at a time; the
/// end of a call waits for it. One copy of the state stays in host memory between the saves of a call,
/// for the next to be made in. A checkpoint is acknowledged when it is durable, and before older ones
/// are removed: see [`Writer`](super::Writer).
///
/// **Failures.** A save that fails in the midst of training is reported at the next step as a
/// [notice](regimen_core::callback::Event::Notice) and counted in [`stats`](Checkpointer::stats), and training
/// goes on; with [`stop_on_failure`](Checkpointer::stop_on_failure) it is an error. At the end of a
/// call it is always an error. So are weights that are [not finite](crate::error::NotFinite), because training does
/// not mend them. Older checkpoints are as they were.
///
/// **Ranks.** Of several ranks that train [together](crate::Run::peers), rank 0 reads and writes, and the others need
/// no access to the directory, unless [every rank writes](Checkpointer::every_rank_writes). A checkpoint has the state of
/// all ranks, and any number of ranks can go on from it. A restore is the same on all ranks: `None`, an error, or the
/// same checkpoint. Another rank that fails by itself saves its post-mortem in the folder `rank-R`, which needs access. A
/// save is a copy of everything on each rank.
///
/// A run directory belongs to one run and has one writer at a time. Every call, also one that
/// evaluates or predicts, acquires its [`LockFile`](super::LockFile) before the unit and the callbacks
/// are called, so a second process is refused before its callbacks touch a file. The lock is released
/// when the run is dropped. Restoring needs none. To evaluate during a training, load the weights with
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
    settings: Settings,
    session: Session,
}

impl Checkpointer {
    /// Saves to the directory `dir` at the end of every call, and keeps every checkpoint.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Checkpointer { settings: Settings::new(dir.into()), session: Session::default() }
    }

    /// Uses another store than this machine's disk, under its [`lock`](Store::lock) if it has one. It is acquired when
    /// a training begins.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.settings.store = Some(store);
        self
    }

    /// Saves at this cadence of the training; a second call replaces the first.
    pub fn every(mut self, every: Every) -> Self {
        self.settings.cadences.every = every;
        self
    }

    /// Saves after every `n`-th evaluation of `fit`.
    pub fn every_evaluations(mut self, n: u64) -> Self {
        self.settings.cadences.evaluations = Some(n);
        self
    }

    /// Saves after the first step that ends `seconds` or more after the last save.
    pub fn every_seconds(mut self, seconds: u64) -> Self {
        self.settings.cadences.seconds = Some(seconds);
        self
    }

    /// Keeps the `n` saved last, and those that other rules ask for. All by default.
    pub fn keep_last(mut self, n: usize) -> Self {
        self.refuse_zero(n as u64, "`Checkpointer::keep_last`: the newest is always kept; give 1 or more");
        self.settings.keep = self.settings.keep.last(n);
        self
    }

    /// Keeps the `n` with the smallest values of `metric`, and the newest; saves after every epoch of
    /// training or evaluation in which it is measured.
    ///
    /// The value is that over the epoch that has just ended. Of equal values the earlier is
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
        self.settings.keep = self.settings.keep.best(n, metric.name(), goal);
        self.settings.best = Some((metric, goal));
        self
    }

    /// Keeps those of steps that are multiples of `steps` for ever, and the newest.
    pub fn keep_every_steps(mut self, steps: u64) -> Self {
        self.refuse_zero(steps, "`Checkpointer::keep_every_steps`: 0 keeps none; give 1 or more");
        self.settings.keep = self.settings.keep.every_steps(steps);
        self
    }

    /// Puts the unit's parts of the best checkpoint back when a training is over: complete, or
    /// finished by a rule such as early stopping, but not when it is paused. Progress and callbacks
    /// stay; the newest checkpoint is still that of the end, and no pass by hand is saved over it. Needs
    /// [`keep_min`](Checkpointer::keep_min) or [`keep_max`](Checkpointer::keep_max).
    pub fn restore_best_at_end(mut self) -> Self {
        self.settings.restores_best = true;
        self
    }

    /// Writes on the loop's thread, which waits until each checkpoint is durable.
    pub fn in_foreground(mut self) -> Self {
        self.settings.in_background = false;
        self
    }

    /// Each rank writes its own share of a part that is in shares, such as a [sharded
    /// optimizer](crate::AutoUnit::shard_optimizer): a *piece*, in a file of its own, `optimizer@00002-of-00003.safetensors`.
    /// No rank has more than its share in memory, and the ranks write at the same time. By default rank 0 gathers all and
    /// writes it. Parts that are not in shares are still written by rank 0.
    ///
    /// The directory must be in one file system that all ranks see, under the same path or another. Otherwise no save
    /// succeeds. Each rank needs this setting, and the loop waits until the checkpoint is durable. A rank that cannot write
    /// is the failure of the save on all ranks, which names it and its file. If a rank is lost there is no checkpoint.
    ///
    /// Such a checkpoint is restored on any number of ranks, with or without this setting.
    /// A [store](Checkpointer::store) that is not [shared](Store::is_shared) is an error.
    pub fn every_rank_writes(mut self) -> Self {
        self.settings.in_pieces = true;
        self
    }

    /// Leaves out a save that is due while another is being written, instead of waiting for that.
    /// The save at the end of a call always waits.
    pub fn skip_while_busy(mut self) -> Self {
        self.settings.skips = true;
        self
    }

    /// Makes a save that fails an error of the run, at the next step.
    pub fn stop_on_failure(mut self) -> Self {
        self.settings.stops_on_failure = true;
        self
    }

    /// Leaves out the save at the end of a call that is paused, if the last save of this process took longer than the time
    /// to `deadline`, which [`Preemption`](crate::preemption::Preemption) knows. A notice says so, and the newest checkpoint
    /// stays the one to go on from. Without a save to compare with, it saves: a save that is cut off leaves no checkpoint
    /// and damages none. By default the end is not known.
    ///
    /// Among several ranks the earliest end counts, and each rank needs this setting.
    pub fn deadline(mut self, deadline: Deadline) -> Self {
        self.settings.deadline = Some(deadline);
        self
    }

    /// Does not save when a call fails.
    pub fn without_post_mortem(mut self) -> Self {
        self.settings.post_mortem = false;
        self
    }

    /// Saves weights that are not finite too. By default they are never saved over those that are: a save that
    /// finds them is an error of the run, and only what is kept for the post-mortem may hold them.
    pub fn allow_not_finite(mut self) -> Self {
        self.settings.saves_not_finite = true;
        self
    }

    /// Leaves a part of the unit as it is in a restore, whether it was saved or not: `optimizer` for the
    /// same run with another optimizer. It is reported, and listed in
    /// [`Restored::differences`](regimen_core::run::Restored::differences).
    pub fn restore_without(mut self, part: impl Into<String>) -> Self {
        self.settings.left_out.push(part.into());
        self
    }

    /// Makes a difference in [hyper-parameters](regimen_core::Run::hyper_parameters) an error of the restore.
    /// By default each is a notice.
    pub fn hyper_parameters_must_match(mut self) -> Self {
        self.settings.must_match = true;
        self
    }

    /// Calls `on_saved` with every checkpoint that was acknowledged, on the thread that wrote it. A
    /// panic of it counts as a failure to save. If the loop waits for the save, the panic is an error of the run.
    pub fn on_saved(mut self, on_saved: impl Fn(&Checkpoint) + Send + Sync + 'static) -> Self {
        self.settings.on_saved = Some(Arc::new(on_saved));
        self
    }

    /// Counts of saves and failures, which can be read when the run is over and dropped.
    pub fn stats(&self) -> SaveStats {
        self.settings.stats.clone()
    }

    fn refuse_zero(&mut self, n: u64, mistake: &'static str) {
        if n == 0 {
            self.settings.mistake.get_or_insert(mistake);
        }
    }
}

/// ```text
/// begin              acquire the lock file; to train, open the directory, or refuse it
///                    tell the other ranks which run it is
/// train start        report the last save
/// step, epoch, and   report the last save
/// evaluation ends    note the values measured
///                    save, if a save is due
/// train end          save, unless nothing happened since the last save, or a pause leaves no time for it; wait until
///                    it is durable
///                    put the best back, if asked to
/// error              wait; save for the post-mortem
/// ```
///
/// Rank 0 writes. The others take part in each copy, for the arrays that are theirs alone, and in each restore. What
/// they cannot know alike, rank 0 answers for all: no rank comes to a collective call without the others.
impl Saver for Checkpointer {
    fn events(&self) -> Events {
        use Event::*;
        Events::of(&[
            TrainStart,
            TrainStepEnd,
            TrainEpochEnd,
            TrainEnd,
            EvalStepEnd,
            EvalEpochEnd,
            EvalEnd,
            PredictEnd,
        ])
    }

    fn begin(&mut self, phase: Phase, moment: &mut Moment<'_>) -> Result<(), BoxError> {
        let Checkpointer { settings, session } = self;
        settings.check()?;
        match phase {
            _ if !writes(moment) => {}
            Phase::Train => session.open(settings).map(drop)?,
            Phase::Eval | Phase::Predict => session.lock_if_writable(settings)?,
        }
        session.agree_on_run(moment)
    }

    fn on_event(&mut self, event: Event, moment: &mut Moment<'_>) -> Result<(), BoxError> {
        let Checkpointer { settings, session } = self;
        match event {
            _ if !takes_part(moment) => Ok(()),
            Event::TrainStart => session.start(settings, moment),
            Event::TrainEnd => {
                session.end(settings, moment)?;
                let is_pause = |stop: &Stop| !stop.is_final();
                if settings.restores_best && !moment.state().stopping().is_some_and(is_pause) {
                    restore::put_best_back(settings, session, moment)?;
                }
                Ok(())
            }
            _ if session.is_training => session.during(settings, event, moment),
            // A pass by hand leaves nothing to go on from, unless it has a name.
            Event::EvalEnd | Event::PredictEnd
                if moment.state().is_resumable_pass() && !session.holds_best =>
            {
                session.save_and_wait(settings, moment)
            }
            _ => Ok(()),
        }
    }

    fn on_error(&mut self, error: &Error, moment: &mut Moment<'_>) {
        let Checkpointer { settings, session } = self;
        session.settle();
        let is_of_another = PeerLost::is_in(error);
        // The run goes on.
        if is_of_another && moment.state().peers().is_some_and(|peers| peers.is_elastic()) {
            return;
        }
        // What failed to save or restore would only fail again. The first rank saves for another that is lost.
        if *error.kind() == ErrorKind::State && !is_of_another
            || is_of_another && !writes(moment)
            || !takes_part(moment)
        {
            return;
        }
        // The other ranks take no part in it.
        let is_alone = moment.state().peers().is_none();
        let saved = if is_alone && moment.state().is_resumable_pass() {
            if session.holds_best {
                return;
            }
            // The pass has changed nothing but its place, from which it can go on.
            session.save_and_wait(settings, moment)
        } else if settings.post_mortem {
            session.save_post_mortem(settings, moment)
        } else {
            Ok(())
        };
        if let Err(cause) = saved {
            settings.stats.fail(WithCauses(&*cause).to_string());
        }
    }

    fn sum_up(&mut self, report: &mut Report, moment: &mut Moment<'_>) {
        if !writes(moment) {
            return;
        }
        let saved = self.settings.stats.resumable();
        report.saved = saved.map(|newest| newest.path().display().to_string());
        best_on_disk(&self.settings).into_iter().for_each(|best| report.add_best(best));
    }

    fn restore(&mut self, which: Which<'_>, moment: &mut Moment<'_>) -> Result<Option<Restored>, BoxError> {
        restore::restore(&self.settings, &mut self.session, which, moment)
    }
}

impl fmt::Debug for Checkpointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpointer")
            .field("dir", &self.settings.dir)
            .field("cadences", &self.settings.cadences)
            .field("keep", &self.settings.keep)
            .field("stats", &self.settings.stats)
            .finish_non_exhaustive()
    }
}
