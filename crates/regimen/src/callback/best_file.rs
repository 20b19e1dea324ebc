//! The weights of the best epoch, as a file.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use super::{Event, Events, Ranks, saved_best};
use crate::checkpoint::safetensors;
use crate::engine::{Engine, Part};
use crate::metric::{Best, Goal, Improvement, Key};
use crate::replace_file::replace_with;
use crate::run::Report;
use crate::saved::{Array, StateDict, Stateful};
use crate::state::{EntryPoint, Phase};
use crate::{AutoUnit, BoxError, Callback, State, Task};

/// Writes the weights to a safetensors file whenever a metric has a new best value, for programs that want weights
/// alone. A run goes on from a [`Checkpointer`](crate::checkpoint::Checkpointer) instead.
///
/// It looks at the metric at the end of every evaluation of `fit`, or as [`phase`](BestFile::phase) says. Only a
/// value that is better than all before is a new best: of equal values the first counts, and NaN never does. Each is
/// told in a [notice](State::notices).
///
/// A closure names the file. A name that is always the same is one file, that of the best so far; others leave the
/// files of earlier ones. The folder is created, and a file is replaced as a whole.
///
/// The weights are those that [evaluation uses](AutoUnit::evaluated_weights), or those that are
/// [trained](BestFile::trained). The order of the callbacks makes no difference. Among several ranks the first writes.
/// The best value is saved in checkpoints.
///
/// ```
/// # use regimen::auto_unit::EVAL_LOSS;
/// # use regimen::engine::Engine;
/// # use regimen::metric::Key;
/// # use regimen::{AutoUnit, Run, Task};
/// use regimen::callback::BestFile;
/// use regimen::metric::Best;
///
/// # fn example<'a, E: Engine, T: Task<E>>(run: Run<'a, AutoUnit<E, T>>) -> Run<'a, AutoUnit<E, T>> {
/// let name = |best: &Best| format!("runs/digits/model_{}_{:.2}.safetensors", best.epoch, best.value);
/// run.callback(BestFile::min(EVAL_LOSS, name))
///     .callback(BestFile::max(Key::mean("eval/accuracy"), |_| "runs/digits/best.safetensors"))
/// # }
/// ```
pub struct BestFile {
    key: Key,
    improvement: Improvement,
    phase: Phase,
    is_trained: bool,
    name: Box<dyn FnMut(&Best) -> PathBuf + Send>,
    best: Option<Best>,
}

impl BestFile {
    /// Of the smallest value of `key`, in the file that `name` returns for it.
    pub fn min<P: Into<PathBuf>>(key: Key, name: impl FnMut(&Best) -> P + Send + 'static) -> Self {
        BestFile::new(key, Improvement::min(), name)
    }

    /// Of the largest value of `key`, in the file that `name` returns for it.
    pub fn max<P: Into<PathBuf>>(key: Key, name: impl FnMut(&Best) -> P + Send + 'static) -> Self {
        BestFile::new(key, Improvement::max(), name)
    }

    fn new<P: Into<PathBuf>>(
        key: Key,
        improvement: Improvement,
        mut name: impl FnMut(&Best) -> P + Send + 'static,
    ) -> Self {
        let name = Box::new(move |best: &Best| name(best).into());
        BestFile { key, improvement, phase: Phase::Eval, is_trained: false, name, best: None }
    }

    /// The phase in which the metric is logged; [`Phase::Eval`] by default.
    pub fn phase(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }

    /// Writes the trained weights also if there is an average.
    pub fn trained(mut self) -> Self {
        self.is_trained = true;
        self
    }

    fn goal(&self) -> Goal {
        self.improvement.goal()
    }

    fn read(&self, dict: &StateDict) -> Result<Option<Best>, BoxError> {
        if dict.is_empty() {
            return Ok(None);
        }
        let checkpoint = Some(dict.array("file")?.to_text()?);
        Ok(Some(Best { checkpoint, ..saved_best::read(dict, &self.key, self.goal())? }))
    }
}

impl<E: Engine, T: Task<E>> Callback<AutoUnit<E, T>> for BestFile {
    fn name(&self) -> Cow<'static, str> {
        Cow::Owned(format!("BestFile({} {})", self.goal(), self.key))
    }

    fn events(&self) -> Events {
        Events::of(&[Event::TrainEpochEnd, Event::EvalEpochEnd])
    }

    fn ranks(&self) -> Ranks {
        Ranks::First
    }

    fn on_event(&mut self, _: Event, state: &mut State, unit: &mut AutoUnit<E, T>) -> Result<(), BoxError> {
        let phase = state.phase();
        if phase != self.phase || state.entry_point() == EntryPoint::Evaluate {
            return Ok(());
        }
        let epochs = state.progress().epochs;
        let metric = state.metrics(phase).get(&self.key);
        let value = metric.and_then(|metric| metric.in_epoch(epochs)).ok_or_else(|| {
            format!(
                "best file: `{}` was not logged in this epoch of {phase}; log it, or watch another",
                self.key
            )
        })?;
        let before = self.best.as_ref().map(|best| best.value);
        if !self.improvement.is_better(value, before) {
            return Ok(());
        }
        let mut best = Best::now(self.key.clone(), self.goal(), value, state);
        let path = (self.name)(&best);
        let weights = match self.is_trained {
            true => unit.engine().state(Part::Module)?,
            false => unit.evaluated_weights()?,
        };
        write(&weights, &path)?;
        let (epoch, key, path) = (best.epoch, &self.key, path.display());
        let before = before.unwrap_or(self.goal().worst());
        state.notify(format!("epoch {epoch}: best {key} improved from {before:.4} to {value:.4}: {path}"));
        best.checkpoint = Some(path.to_string());
        self.best = Some(best);
        Ok(())
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }

    fn sum_up(&mut self, report: &mut Report) {
        self.best.iter().for_each(|best| report.add_best(best.clone()));
    }
}

/// Replaces the file at `path`, and creates its folder. After an error it is as it was.
fn write(weights: &StateDict, path: &Path) -> Result<(), BoxError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .map_err(|cause| format!("cannot create `{}`: {cause}", folder.display()))?;
    }
    replace_with(path, |new| safetensors::save_file(weights, new))
        .map_err(|cause: BoxError| format!("cannot write `{}`: {cause}", path.display()).into())
}

/// The best value with its epoch, step and file; empty before the first.
impl Stateful for BestFile {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        if let Some(best) = &self.best {
            saved_best::insert(&mut dict, best)?;
            dict.insert("file", Array::from_text(best.checkpoint.as_deref().unwrap_or_default()))?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.best = self.read(dict)?;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.read(dict).map(drop)
    }
}

impl fmt::Debug for BestFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BestFile { key, improvement, phase, is_trained, best, .. } = self;
        f.debug_struct("BestFile")
            .field("key", key)
            .field("improvement", improvement)
            .field("phase", phase)
            .field("is_trained", is_trained)
            .field("best", best)
            .finish_non_exhaustive()
    }
}
