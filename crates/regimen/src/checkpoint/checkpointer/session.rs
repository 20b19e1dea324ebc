//! One run of a checkpointer: its lock, its background writer, and what it holds between two events.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Instant;

use regimen_core::BoxError;
use regimen_core::callback::Event;
use regimen_core::error::{NotFinite, WithCauses};
use regimen_core::metric::Best;
use regimen_core::peers::AgreedError;
use regimen_core::run::{Moment, Which};
use regimen_core::saved::{weight_parts, with_spares};
use regimen_core::state::Phase;

use super::background::{Archive, Background, Conditions};
use super::cadences::Due;
use super::capture::{Of, RUN, capture, goes_on_alike, measured};
use super::finite::{Finite, infinite};
use super::settings::Settings;
use crate::checkpoint::directory::writer::lock_dir;
use crate::checkpoint::{CheckpointError, LockFile, Snapshot, Writer};
use crate::system::random_name;

/// The part of a checkpointer that changes while a run is under way.
#[derive(Default)]
pub(super) struct Session {
    /// Identifies the run over all its restarts. `None` before the first save or restore.
    pub(super) run: Option<String>,
    /// The lock file of the run directory, from the first call on.
    lock: Option<Arc<LockFile>>,
    pub(super) background: Option<Background>,
    /// Whether a call of `train` or `fit` is under way.
    pub(super) is_training: bool,
    due: Due,
    /// The values measured since the last step, by the metric's name.
    pub(super) measured: BTreeMap<String, f64>,
    /// The newest snapshot, as long as no step was made since.
    pub(super) recent: Option<Arc<Snapshot>>,
    /// A snapshot that is needed only for its memory, which the next one takes.
    spent: Option<Arc<Snapshot>>,
    /// Whether the unit holds the best weights instead of those of the run's end.
    pub(super) holds_best: bool,
    /// The arrays that held infinity when the run began, or was restored.
    pub(super) infinite: Option<Arc<BTreeSet<String>>>,
}

/// Whether this rank writes what is saved.
pub(super) fn writes(moment: &Moment<'_>) -> bool {
    moment.state().rank().is_first()
}

/// Whether this rank takes part in the saves: without peers there is nothing to add to those of rank 0.
pub(super) fn takes_part(moment: &Moment<'_>) -> bool {
    writes(moment) || moment.state().peers().is_some()
}

/// The answer of rank 0 to a question whose answers differ between ranks. Every rank asks it.
pub(super) fn of_first(moment: &Moment<'_>, answer: bool) -> Result<bool, BoxError> {
    moment.state().peers().map_or(Ok(answer), |peers| peers.ask_first(answer))
}

impl Session {
    /// A call begins: this rank is to know the run that rank 0 saves, so that it can go on with it.
    pub(super) fn agree_on_run(&mut self, moment: &Moment<'_>) -> Result<(), BoxError> {
        let Some(peers) = moment.state().peers() else { return Ok(()) };
        let run = peers.text_of_first(self.run.as_deref().unwrap_or_default())?;
        if !run.is_empty() {
            self.run = Some(run);
        }
        Ok(())
    }

    /// Opens the run directory for writing, unless it is open.
    pub(super) fn open(&mut self, settings: &Settings) -> Result<&mut Background, BoxError> {
        let background = match self.background.take() {
            Some(background) => background,
            None => Background::new(self.open_archive(settings)?),
        };
        Ok(self.background.insert(background))
    }

    fn open_archive(&mut self, settings: &Settings) -> Result<Archive, BoxError> {
        let lock = self.lock(settings)?;
        let run = self.run.get_or_insert_with(random_name).clone();
        let writer = match lock {
            Some(lock) => Writer::under(lock, &settings.dir, run.clone())?,
            None => Writer::open_on(settings.store(), &settings.dir, run.clone())?,
        };
        let listing = settings.checkpoints().list()?;
        let mut manifests = listing.checkpoints.iter().map(|checkpoint| checkpoint.manifest());
        if let Some(other) = manifests.find(|other| other.resumable && other.run != run) {
            let dir = settings.dir.display();
            return Err(format!(
                "`{dir}` holds checkpoints of another run, the newest of step {}: restore it to go on with \
                 it, or give another directory",
                other.step
            )
            .into());
        }
        Ok(archive(settings, writer))
    }

    /// Opens the directory of the post-mortems of another rank than the first. No restore reads it.
    fn open_of_rank(&self, settings: &Settings, index: u64) -> Result<Background, BoxError> {
        let dir = settings.dir.join(format!("rank-{index}"));
        let run = self.run.clone().unwrap_or_else(random_name);
        let writer = match &settings.store {
            None => Writer::open(dir, run)?,
            Some(store) => Writer::open_on(Arc::clone(store), dir, run)?,
        };
        Ok(Background::new(archive(settings, writer)))
    }

    /// Takes the lock file of the run directory, which is then held until the checkpointer is dropped.
    /// Returns `None` for another store than this machine's disk.
    fn lock(&mut self, settings: &Settings) -> Result<Option<Arc<LockFile>>, CheckpointError> {
        if self.lock.is_none() && settings.store.is_none() {
            self.lock = Some(Arc::new(lock_dir(&settings.dir)?));
        }
        Ok(self.lock.clone())
    }

    /// Takes the lock file for a call that may save nothing. A directory that this process may not
    /// write to needs no lock.
    pub(super) fn lock_if_writable(&mut self, settings: &Settings) -> Result<(), BoxError> {
        match self.lock(settings) {
            Err(error) if is_not_writable(&error) => Ok(()),
            locked => Ok(locked.map(drop)?),
        }
    }

    /// A call of `train` or `fit` begins.
    pub(super) fn start(&mut self, settings: &Settings, moment: &mut Moment<'_>) -> Result<(), BoxError> {
        (self.is_training, self.holds_best) = (true, false);
        // A copy is made only for weights that will be looked at.
        let looks =
            (writes(moment) || settings.in_pieces) && !settings.saves_not_finite && self.infinite.is_none();
        if looks && !weight_parts(moment.unit())?.is_empty() {
            let snapshot = self.capture(moment, Of::ThisRank)?;
            self.infinite = Some(Arc::new(infinite(&snapshot)));
            self.spent = Some(Arc::new(snapshot));
        }
        self.due.begin();
        self.report_last_save(settings, moment)
    }

    /// A step, an epoch or an evaluation of a training ended.
    pub(super) fn during(
        &mut self,
        settings: &Settings,
        event: Event,
        moment: &mut Moment<'_>,
    ) -> Result<(), BoxError> {
        self.report_last_save(settings, moment)?;
        let measured_best = self.measure(settings, event, moment);
        // Each rank has a clock of its own, and may have callbacks of its own that log.
        let is_wanted = match event {
            Event::TrainStepEnd if settings.cadences.seconds.is_some() => {
                of_first(moment, self.due.are_over(settings.cadences.seconds))?
            }
            Event::TrainEpochEnd | Event::EvalEpochEnd if settings.best.is_some() => {
                of_first(moment, measured_best)?
            }
            _ => false,
        };
        if self.due.now(&settings.cadences, event, moment.state(), is_wanted) {
            self.save_midway(settings, moment)?;
        }
        Ok(())
    }

    /// A call of `train` or `fit` ended without an error.
    pub(super) fn end(&mut self, settings: &Settings, moment: &mut Moment<'_>) -> Result<(), BoxError> {
        self.is_training = false;
        if !self.is_too_late(settings, moment)? {
            self.save_and_wait(settings, moment)?;
        }
        self.spent = None;
        Ok(())
    }

    /// Waits for the save under way, in a call that failed. It is counted; the run has ended with an
    /// error already.
    pub(super) fn settle(&mut self) {
        self.is_training = false;
        if let Some(Err(_)) = self.background.as_mut().and_then(Background::wait) {
            // The next save is made, since this one was not.
            self.recent = None;
        }
    }

    /// Saves in the midst of a training.
    fn save_midway(&mut self, settings: &Settings, moment: &mut Moment<'_>) -> Result<(), BoxError> {
        let writes = writes(moment);
        if settings.skips {
            let is_busy = writes && self.open(settings)?.is_busy();
            if of_first(moment, is_busy)? {
                settings.stats.skip();
                return Ok(());
            }
        }
        if writes {
            self.wait_for_last_save(settings, moment)?;
            self.retire();
        }
        let began = Instant::now();
        let snapshot = Arc::new(self.capture(moment, settings.copied())?);
        let conditions = self.conditions(settings, moment, began)?;
        if snapshot.is_in_pieces() {
            let saved = self.save_together(settings, moment, &snapshot, conditions);
            self.recent = (writes && saved.is_ok()).then_some(snapshot);
            return match saved {
                Err(why) if AgreedError::is_in(&*why) => self.failed(settings, why, moment),
                saved => saved,
            };
        }
        if !writes {
            return Ok(());
        }
        self.recent = Some(Arc::clone(&snapshot));
        let background = self.open(settings)?;
        if settings.in_background {
            background.spawn(snapshot, conditions)
        } else {
            background.run(&snapshot, conditions)
        }
        self.report_last_save(settings, moment)
    }

    /// Waits until the last save is over, and reports its failure.
    pub(super) fn wait_for_last_save(
        &mut self,
        settings: &Settings,
        moment: &mut Moment<'_>,
    ) -> Result<(), BoxError> {
        if writes(moment)
            && let Some(Err(why)) = self.open(settings)?.wait()
        {
            self.failed(settings, why, moment)?;
        }
        Ok(())
    }

    /// Saves unless nothing happened since the last save, and waits until that is durable.
    pub(super) fn save_and_wait(
        &mut self,
        settings: &Settings,
        moment: &mut Moment<'_>,
    ) -> Result<(), BoxError> {
        settings.check()?;
        let writes = writes(moment);
        self.wait_for_last_save(settings, moment)?;
        let began = Instant::now();
        let snapshot = self.capture(moment, settings.copied())?;
        let is_saved = self.recent.as_ref().is_some_and(|recent| goes_on_alike(recent, &snapshot));
        if of_first(moment, is_saved)? {
            return Ok(());
        }
        let conditions = self.conditions(settings, moment, began)?;
        if snapshot.is_in_pieces() {
            self.save_together(settings, moment, &snapshot, conditions)?;
            self.recent = writes.then(|| Arc::new(snapshot));
            return Ok(());
        }
        if writes {
            let background = self.open(settings)?;
            background.run(&snapshot, conditions);
            background.wait().unwrap_or(Ok(()))?;
            self.recent = Some(Arc::new(snapshot));
        } else {
            drop(snapshot);
        }
        // All wait until it is durable.
        of_first(moment, true).map(drop)
    }

    /// Saves a call that failed on this rank: not to be restored, only to be looked at.
    pub(super) fn save_post_mortem(
        &mut self,
        settings: &Settings,
        moment: &mut Moment<'_>,
    ) -> Result<(), BoxError> {
        settings.check()?;
        let snapshot = self.capture(moment, Of::ThisRank)?;
        let mut of_rank;
        let background = match moment.state().rank().index {
            0 => self.open(settings)?,
            index => {
                of_rank = self.open_of_rank(settings, index)?;
                &mut of_rank
            }
        };
        background.run(&Snapshot { post_mortem: true, ..snapshot }, Conditions::default());
        // A failure is counted where it is found.
        let _ = background.wait();
        Ok(())
    }

    /// Copies everything that is saved, into the memory of the last copy if that is no longer needed.
    fn capture(&mut self, moment: &mut Moment<'_>, of: Of) -> Result<Snapshot, BoxError> {
        let spent = self.spent.take().and_then(Arc::into_inner).unwrap_or_default();
        with_spares(spent.parts.into_values(), || capture(moment, &self.measured, of))
    }

    /// The newest snapshot is no longer needed but for its memory.
    fn retire(&mut self) {
        self.spent = self.recent.take().or(self.spent.take());
    }

    /// The conditions under which a snapshot, whose copy has begun at `began`, is saved, when those of the other ranks are met.
    fn conditions(
        &self,
        settings: &Settings,
        moment: &mut Moment<'_>,
        began: Instant,
    ) -> Result<Conditions, BoxError> {
        let finite = if settings.saves_not_finite {
            None
        } else {
            let infinite = self.infinite.clone().unwrap_or_default();
            Some(Finite { weights: weight_parts(moment.unit())?, infinite })
        };
        let mut first = moment.before_commit();
        if !writes(moment) {
            first.drain(..).try_for_each(|work| work())?;
        }
        of_first(moment, true)?;
        Ok(Conditions { finite, first, began: Some(began) })
    }

    /// Notes the values measured in an epoch that ended at `event`. Returns whether the metric of the
    /// best is among them.
    fn measure(&mut self, settings: &Settings, event: Event, moment: &Moment<'_>) -> bool {
        let phase = match event {
            Event::TrainStepEnd => {
                // What is saved from here on is no longer what was measured.
                self.measured.clear();
                self.retire();
                return false;
            }
            Event::TrainEpochEnd => Phase::Train,
            Event::EvalEpochEnd => Phase::Eval,
            _ => return false,
        };
        let state = moment.state();
        let now: Vec<_> = measured(state.metrics(phase), state.progress_of(phase)).collect();
        let best = settings.best.as_ref().map(|(key, _)| key.name());
        let measured_best = now.iter().any(|(name, _)| Some(&**name) == best);
        self.measured.extend(now);
        measured_best
    }

    /// Reports the failure of a save that is over.
    fn report_last_save(&mut self, settings: &Settings, moment: &mut Moment<'_>) -> Result<(), BoxError> {
        match self.background.as_mut().and_then(Background::poll) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(why)) => self.failed(settings, why, moment),
        }
    }

    fn failed(
        &mut self,
        settings: &Settings,
        why: BoxError,
        moment: &mut Moment<'_>,
    ) -> Result<(), BoxError> {
        self.recent = None;
        // Weights do not become finite again, and a roll-back knows this error by its type.
        if why.is::<NotFinite>() {
            return Err(why);
        }
        let text = format!("a checkpoint was not saved: {}", WithCauses(&*why));
        if settings.stops_on_failure {
            return Err(if AgreedError::is_in(&*why) { AgreedError::new(text).into() } else { text.into() });
        }
        moment.state_mut().notify(text);
        Ok(())
    }
}

/// The archive that `writer` writes.
fn archive(settings: &Settings, writer: Writer) -> Archive {
    let stats = settings.stats.clone();
    for failure in writer.sweep().failures {
        stats.fail(WithCauses(&failure).to_string());
    }
    Archive { writer, keep: settings.keep.clone(), on_saved: settings.on_saved.clone(), stats }
}

/// The best value on disk, with its checkpoint. Returns `None` if it cannot be read: that is no reason
/// for a call to fail that is done.
pub(super) fn best_on_disk(settings: &Settings) -> Option<Best> {
    let (key, goal) = settings.best.clone()?;
    let found = settings.checkpoints().load_with(Which::Best, |best| best.read(RUN)).ok()??;
    let manifest = found.checkpoint.manifest();
    let value = *manifest.metrics.get(key.name())?;
    let is_within_epoch =
        Moment::saved_state(&found.content).is_ok_and(|state| state.train_progress().steps_in_epoch != 0);
    let (epoch, train_step) = (manifest.epoch + u64::from(is_within_epoch), manifest.step);
    let checkpoint = Some(found.checkpoint.path().display().to_string());
    Some(Best { key, goal, value, epoch, train_step, checkpoint })
}

fn is_not_writable(error: &CheckpointError) -> bool {
    error.cause().downcast_ref::<io::Error>().is_some_and(|cause| {
        matches!(cause.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
    })
}
