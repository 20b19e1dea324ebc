//! Loading parts of a checkpoint without a run: weights for inference, or for another model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regimen_core::BoxError;
use regimen_core::error::WithCauses;
use regimen_core::saved::{AppState, Parts, StateDict, Stateful};

use super::error::undone;
use super::format::manifest;
use super::{Checkpoint, CheckpointError, Checkpoints, Which};

/// Loads the parts called `names` of a checkpoint into `unit`, without a run: weights for
/// inference.
///
/// `path` is a checkpoint, or a run directory, of which the latest whole checkpoint is loaded. The
/// other parts of the unit stay as they are. See [`Load`] for the lenient cases.
///
/// ```no_run
/// # use regimen::saved::AppState;
/// # use regimen::BoxError;
/// # fn example(mut unit: impl AppState) -> Result<(), BoxError> {
/// regimen::checkpoint::load_parts_from("runs/digits", &mut unit, &["module"])?;
/// # Ok(())
/// # }
/// ```
pub fn load_parts_from(
    path: impl Into<PathBuf>,
    unit: &mut (impl AppState + ?Sized),
    names: &[&str],
) -> Result<LoadReport, BoxError> {
    names.iter().fold(Load::from(path), |load, name| load.part(*name)).into_unit(unit)
}

/// Loads parts of a checkpoint into a unit, without a run. By default it loads every part of the unit,
/// under the same names, and nothing may be missing or different. Each setting relaxes one of these.
///
/// ```no_run
/// # use regimen::saved::AppState;
/// # use regimen::BoxError;
/// # fn example(mut unit: impl AppState) -> Result<(), BoxError> {
/// use regimen::checkpoint::Load;
///
/// let loaded = Load::from("runs/autoencoder")
///     .part("module")
///     .rename("encoder.", "backbone.")
///     .lenient()
///     .into_unit(&mut unit)?;
/// assert!(loaded.missing.iter().all(|name| name.starts_with("module/head.")));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Load {
    path: PathBuf,
    parts: Vec<String>,
    renamed: Vec<(String, String)>,
    lenient: bool,
}

/// The arrays that were loaded from a checkpoint, and those that were not. They are named `part/array`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// The checkpoint.
    pub from: PathBuf,
    /// Completed training steps at the time of the save.
    pub step: u64,
    /// Arrays that were loaded.
    pub loaded: Vec<String>,
    /// Arrays of the unit that were not saved; they stay as they are.
    pub missing: Vec<String>,
    /// Saved arrays that the unit does not have.
    pub unexpected: Vec<String>,
    /// Arrays that were saved with another type or shape, with both; they stay as they are.
    pub mismatched: Vec<String>,
}

impl Load {
    /// From a checkpoint, or from the newest whole one of a run directory.
    pub fn from(path: impl Into<PathBuf>) -> Self {
        Load { path: path.into(), parts: Vec::new(), renamed: Vec::new(), lenient: false }
    }

    /// Loads only this part, and those named by further calls.
    pub fn part(mut self, name: impl Into<String>) -> Self {
        self.parts.push(name.into());
        self
    }

    /// Loads arrays whose names begin with `from` as if they began with `to`. The first rule that fits
    /// a name is used.
    pub fn rename(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.renamed.push((from.into(), to.into()));
        self
    }

    /// Loads the arrays that have the same name, type and shape in the unit and in the checkpoint, and
    /// leaves the rest, instead of an error.
    pub fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// Loads into `unit`. After an error the unit is as it was.
    pub fn into_unit(self, unit: &mut (impl AppState + ?Sized)) -> Result<LoadReport, BoxError> {
        let (checkpoint, saved) = self.read()?;
        let from = checkpoint.path().to_owned();
        let report = LoadReport { from, step: checkpoint.manifest().step, ..LoadReport::default() };
        let (before, after) = (BTreeMap::new(), BTreeMap::new());
        let mut plan = Plan { load: &self, saved, report, before, after };
        unit.visit(&mut plan)?;
        if let Some(unknown) = self.parts.iter().find(|name| !plan.after.contains_key(*name)) {
            return Err(format!("the unit has no part `{unknown}`").into());
        }
        match put(unit, &plan.after) {
            Ok(()) => Ok(plan.report),
            Err(cause) => Err(undone(cause, put(unit, &plan.before))),
        }
    }

    /// The checkpoint with those of its parts that are wanted.
    fn read(&self) -> Result<(Checkpoint, BTreeMap<String, StateDict>), BoxError> {
        let read = |checkpoint: &Checkpoint| -> Result<_, CheckpointError> {
            let is_wanted = |name: &&str| self.parts.is_empty() || self.parts.iter().any(|part| part == name);
            let wanted = checkpoint.manifest().part_names().into_iter().filter(is_wanted);
            wanted.map(|name| Ok((name.to_owned(), checkpoint.read(name)?))).collect()
        };
        if self.path.join(manifest::FILE).is_file() {
            let checkpoint = Checkpoint::open(&self.path)?;
            let saved = read(&checkpoint)?;
            return Ok((checkpoint, saved));
        }
        let found = Checkpoints::in_dir(&self.path).load_with(Which::Latest, read)?;
        let found = found.ok_or_else(|| none_in(&self.path))?;
        Ok((found.checkpoint, found.content))
    }

    /// The name in the unit of an array that was saved as `saved`.
    fn name_in_unit(&self, saved: &str) -> String {
        let rename = |(from, to): &(String, String)| Some(format!("{to}{}", saved.strip_prefix(&**from)?));
        self.renamed.iter().find_map(rename).unwrap_or_else(|| saved.to_owned())
    }
}

fn none_in(path: &Path) -> String {
    format!("`{}` is no checkpoint, and holds none that is whole", path.display())
}

/// The states to load into the parts of a unit, found before any of them is changed.
struct Plan<'a> {
    load: &'a Load,
    saved: BTreeMap<String, StateDict>,
    report: LoadReport,
    /// The parts to be changed, as they are.
    before: BTreeMap<String, StateDict>,
    /// The same parts, as they are to be.
    after: BTreeMap<String, StateDict>,
}

impl Parts for Plan<'_> {
    fn part(&mut self, name: &str, part: &mut dyn Stateful) -> Result<(), BoxError> {
        if !self.load.parts.is_empty() && !self.load.parts.iter().any(|wanted| wanted == name) {
            return Ok(());
        }
        let current = part.state_dict().map_err(|cause| fault(name, cause))?;
        let saved = match self.saved.remove(name) {
            Some(saved) => saved,
            None if self.load.lenient => StateDict::new(),
            None => return Err(format!("`{}` has no part `{name}`", self.report.from.display()).into()),
        };
        let mut renamed = StateDict::new();
        for (name, array) in saved {
            renamed.insert(self.load.name_in_unit(&name), array)?;
        }
        let after = if self.load.lenient { self.merge(name, &current, &renamed)? } else { renamed };
        part.check_state_dict(&after).map_err(|cause| fault(name, cause))?;
        if !self.load.lenient {
            self.report.loaded.extend(after.iter().map(|(array, _)| format!("{name}/{array}")));
        }
        self.before.insert(name.to_owned(), current);
        self.after.insert(name.to_owned(), after);
        Ok(())
    }
}

impl Plan<'_> {
    /// The arrays of `current`, each replaced by that of the same name and layout in `saved`.
    fn merge(&mut self, part: &str, current: &StateDict, saved: &StateDict) -> Result<StateDict, BoxError> {
        let LoadReport { loaded, missing, unexpected, mismatched, .. } = &mut self.report;
        let mut merged = StateDict::new();
        for (name, array) in current.iter() {
            let full = format!("{part}/{name}");
            let same = saved.array(name).ok();
            let fits = same.filter(|saved| (saved.dtype(), saved.shape()) == (array.dtype(), array.shape()));
            match (same, fits) {
                (_, Some(_)) => loaded.push(full),
                (Some(saved), None) => mismatched.push(format!("{full}: {saved:?}, not {array:?}")),
                (None, None) => missing.push(full),
            }
            merged.insert(name, fits.unwrap_or(array).clone())?;
        }
        let others = saved.iter().filter(|(name, _)| !current.contains(name));
        unexpected.extend(others.map(|(name, _)| format!("{part}/{name}")));
        Ok(merged)
    }
}

/// The error of the part `name`.
fn fault(name: &str, cause: BoxError) -> BoxError {
    format!("part `{name}`: {}", WithCauses(&*cause)).into()
}

/// Loads `parts` into those parts of `unit`.
fn put(unit: &mut (impl AppState + ?Sized), parts: &BTreeMap<String, StateDict>) -> Result<(), BoxError> {
    struct Put<'a>(&'a BTreeMap<String, StateDict>);
    impl Parts for Put<'_> {
        fn part(&mut self, name: &str, part: &mut dyn Stateful) -> Result<(), BoxError> {
            let load = |dict| part.load_state_dict(dict).map_err(|cause| fault(name, cause));
            self.0.get(name).map_or(Ok(()), load)
        }
    }
    unit.visit(&mut Put(parts))
}
