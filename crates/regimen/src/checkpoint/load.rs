//! Taking some of a checkpoint into a unit: weights for inference, or for another model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regimen_core::BoxError;
use regimen_core::saved::{AppState, Parts, StateDict, Stateful};

use super::format::manifest;
use super::{Checkpoint, CheckpointError, Checkpoints, Which};

/// Loads the parts called `names` of a checkpoint into `unit`, without a run: weights for
/// inference.
///
/// `path` is a checkpoint, or a run directory, of which the newest whole checkpoint is taken. The
/// other parts of the unit stay as they are. See [`Load`] for what is lenient.
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

/// What to take from a checkpoint, and how: every part of the unit, under the same names, and
/// nothing may be missing or different. Each setting relaxes one of these.
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

/// What was taken from a checkpoint, and what was not. Arrays are named `part/array`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// The checkpoint.
    pub from: PathBuf,
    /// Completed training steps at the time of the save.
    pub step: u64,
    /// Arrays that were taken.
    pub taken: Vec<String>,
    /// Arrays of the unit that were not saved; they stay as they are.
    pub missing: Vec<String>,
    /// Saved arrays that the unit does not have.
    pub unknown: Vec<String>,
    /// Arrays that were saved with another type or shape, and how; they stay as they are.
    pub different: Vec<String>,
}

impl Load {
    /// From a checkpoint, or from the newest whole one of a run directory.
    pub fn from(path: impl Into<PathBuf>) -> Self {
        Load { path: path.into(), parts: Vec::new(), renamed: Vec::new(), lenient: false }
    }

    /// Takes only this part, and those named by further calls.
    pub fn part(mut self, name: impl Into<String>) -> Self {
        self.parts.push(name.into());
        self
    }

    /// Takes arrays whose names begin with `saved` as if they began with `here`. The first rule
    /// that fits a name is used.
    pub fn rename(mut self, saved: impl Into<String>, here: impl Into<String>) -> Self {
        self.renamed.push((saved.into(), here.into()));
        self
    }

    /// Takes the arrays that have the same name, type and shape here and there, and leaves the
    /// rest, in place of an error.
    pub fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// Loads into `unit`. After an error the unit is as it was.
    pub fn into_unit(self, unit: &mut (impl AppState + ?Sized)) -> Result<LoadReport, BoxError> {
        let (checkpoint, saved) = self.read()?;
        let from = checkpoint.path().to_owned();
        let loaded = LoadReport { from, step: checkpoint.manifest().step, ..LoadReport::default() };
        let mut taking = Taking { load: &self, saved, loaded, before: BTreeMap::new(), now: BTreeMap::new() };
        taking.look_at(unit)?;
        let Taking { loaded, before, now, .. } = taking;
        match put(unit, &now) {
            Ok(()) => Ok(loaded),
            Err(cause) => match put(unit, &before) {
                Ok(()) => Err(cause),
                Err(undo) => {
                    Err(format!("{cause}; and what was there before cannot be put back: {undo}").into())
                }
            },
        }
    }

    /// The checkpoint with those of its parts that are wanted.
    fn read(&self) -> Result<(Checkpoint, BTreeMap<String, StateDict>), BoxError> {
        let read = |checkpoint: &Checkpoint| -> Result<_, CheckpointError> {
            let there = checkpoint.manifest().parts.keys();
            let wanted = there.filter(|name| self.parts.is_empty() || self.parts.contains(name));
            wanted.map(|name| Ok((name.clone(), checkpoint.read(name)?))).collect()
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

    /// A saved array's name here.
    fn name_here(&self, saved: &str) -> String {
        let rename = |(from, to): &(String, String)| Some(format!("{to}{}", saved.strip_prefix(&**from)?));
        self.renamed.iter().find_map(rename).unwrap_or_else(|| saved.to_owned())
    }
}

fn none_in(path: &Path) -> String {
    format!("`{}` is no checkpoint, and holds none that is whole", path.display())
}

/// Looks at every part of a unit, and finds what is to be loaded into it.
struct Taking<'a> {
    load: &'a Load,
    saved: BTreeMap<String, StateDict>,
    loaded: LoadReport,
    /// The parts to be changed, as they are.
    before: BTreeMap<String, StateDict>,
    /// The same parts, as they are to be.
    now: BTreeMap<String, StateDict>,
}

impl Taking<'_> {
    fn look_at(&mut self, unit: &mut (impl AppState + ?Sized)) -> Result<(), BoxError> {
        unit.visit(self)?;
        let known = |name: &&String| !self.now.contains_key(*name);
        if let Some(unknown) = self.load.parts.iter().find(known) {
            return Err(format!("the unit has no part `{unknown}`").into());
        }
        Ok(())
    }
}

impl Parts for Taking<'_> {
    fn part(&mut self, name: &str, part: &mut dyn Stateful) -> Result<(), BoxError> {
        if !self.load.parts.is_empty() && !self.load.parts.iter().any(|wanted| wanted == name) {
            return Ok(());
        }
        let here = part.state_dict().map_err(|cause| format!("part `{name}`: {cause}"))?;
        let there = match self.saved.remove(name) {
            Some(there) => there,
            None if self.load.lenient => StateDict::new(),
            None => return Err(format!("`{}` has no part `{name}`", self.loaded.from.display()).into()),
        };
        let mut renamed = StateDict::new();
        for (name, array) in there {
            renamed.insert(self.load.name_here(&name), array)?;
        }
        let now = if self.load.lenient { self.merge(name, &here, &renamed)? } else { renamed };
        part.check_state_dict(&now).map_err(|cause| format!("part `{name}`: {cause}"))?;
        if !self.load.lenient {
            self.loaded.taken.extend(now.iter().map(|(array, _)| format!("{name}/{array}")));
        }
        self.before.insert(name.to_owned(), here);
        self.now.insert(name.to_owned(), now);
        Ok(())
    }
}

impl Taking<'_> {
    /// What is `here`, with every array that has the same layout `there` taken from there.
    fn merge(&mut self, part: &str, here: &StateDict, there: &StateDict) -> Result<StateDict, BoxError> {
        let LoadReport { taken, missing, unknown, different, .. } = &mut self.loaded;
        let mut merged = StateDict::new();
        for (name, array) in here.iter() {
            let full = format!("{part}/{name}");
            let saved = there.array(name).ok();
            let fits = saved.filter(|saved| (saved.dtype(), saved.shape()) == (array.dtype(), array.shape()));
            match (saved, fits) {
                (_, Some(_)) => taken.push(full),
                (Some(saved), None) => different.push(format!("{full}: {saved:?}, not {array:?}")),
                (None, None) => missing.push(full),
            }
            merged.insert(name, fits.unwrap_or(array).clone())?;
        }
        let others = there.iter().filter(|(name, _)| !here.contains(name));
        unknown.extend(others.map(|(name, _)| format!("{part}/{name}")));
        Ok(merged)
    }
}

/// Loads `parts` into those parts of `unit`.
fn put(unit: &mut (impl AppState + ?Sized), parts: &BTreeMap<String, StateDict>) -> Result<(), BoxError> {
    struct Put<'a>(&'a BTreeMap<String, StateDict>);
    impl Parts for Put<'_> {
        fn part(&mut self, name: &str, part: &mut dyn Stateful) -> Result<(), BoxError> {
            let load =
                |dict| part.load_state_dict(dict).map_err(|cause| format!("part `{name}`: {cause}").into());
            self.0.get(name).map_or(Ok(()), load)
        }
    }
    unit.visit(&mut Put(parts))
}
