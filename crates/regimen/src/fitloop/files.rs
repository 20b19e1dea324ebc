//! States and models that are saved by name.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use super::FitLoop;
use super::initial::put_back;
use crate::checkpoint::{Checkpoints, Keep, Snapshot, Which, Writer, safetensors};
use crate::engine::{Engine, Part, ToDevice};
use crate::error::WithCauses;
use crate::replace_file::replace_with;
use crate::saved::{StateDict, save_parts};
use crate::{BoxError, Error};

/// The part of a state that is not the unit's.
const RUN: &str = "run";
/// Behind the name of a model.
const MODEL: &str = ".safetensors";

/// States and models by name, in one folder. A name is that of a file, without an extension.
///
/// | call | saves or loads | file |
/// |---|---|---|
/// | [`save`](FitLoop::save), [`load`](FitLoop::load) | weights, optimizer, progress, the best weights, records | `NAME/`, a [checkpoint](crate::checkpoint) |
/// | [`save_model`](FitLoop::save_model), [`load_model`](FitLoop::load_model) | weights alone | `NAME.safetensors`, which Python reads too |
///
/// These are for a few states that a person names. A long run is saved by a
/// [`Checkpointer`](crate::checkpoint::Checkpointer): see [`saver`](FitLoop::saver).
///
/// Among several [ranks](crate::Run::peers) every rank makes the same calls. The first one saves and deletes models, and
/// each loads them. A state is an error there, because a saver is needed for the parts that differ between ranks.
impl<'a, E: Engine, X, Y, O> FitLoop<'a, E, X, Y, O>
where
    X: ToDevice<E::Device>,
    Y: ToDevice<E::Device>,
{
    /// The folder of states and models by name, which is made when something is saved. Default: `fitloop_state`.
    pub fn folder(self, folder: impl Into<PathBuf>) -> Self {
        FitLoop { folder: folder.into(), ..self }
    }

    /// Whether [`save`](FitLoop::save) and [`save_model`](FitLoop::save_model) replace what has the name. Default: no,
    /// it is an error and nothing is written.
    pub fn overwrite(self, overwrites: bool) -> Self {
        FitLoop { overwrites, ..self }
    }

    /// Saves the state of the loop under `name`, and returns its path. It survives a kill and a power cut from then on; a
    /// state that is replaced is whole until then.
    pub fn save(&mut self, name: &str) -> Result<PathBuf, Error> {
        self.save_state(name).map_err(|cause| named("save", cause))
    }

    /// Goes on from the state that was saved under `name`: a [`fit`](FitLoop::fit) does what it would have done there.
    /// After an error everything is as it was.
    pub fn load(&mut self, name: &str) -> Result<(), Error> {
        self.keep_initial_state()?;
        self.load_state(name).map_err(|cause| named("load", cause))?;
        self.configure()
    }

    /// Saves the weights under `name`, and returns the path of the file.
    pub fn save_model(&mut self, name: &str) -> Result<PathBuf, Error> {
        let path = match self.is_first() {
            true => self.write_model(name),
            false => self.path(name, MODEL),
        };
        self.agreed("save_model", path)
    }

    /// Loads the weights that were saved under `name`; optimizer and progress stay. A weight that is missing, unknown or
    /// of another shape is an error, and changes nothing.
    pub fn load_model(&mut self, name: &str) -> Result<(), Error> {
        let kept = self.keep_initial_state().map_err(BoxError::from);
        let read =
            kept.and_then(|()| if self.is_first() { self.read_model(name) } else { Ok(StateDict::new()) });
        let weights = self.agreed("load_model", read)?;
        let loaded = self.load_weights(&weights);
        self.agreed("load_model", loaded)?;
        self.configure()
    }

    /// Deletes the state and the model of `name`. It is an error if there is neither.
    pub fn delete(&mut self, name: &str) -> Result<(), Error> {
        let removed = if self.is_first() { self.remove(name) } else { Ok(()) };
        self.agreed("delete", removed)
    }

    fn is_first(&self) -> bool {
        self.runner.state().rank().is_first()
    }

    /// The result of a call that every rank makes: an error of one is an error of all.
    fn agreed<R>(&self, call: &str, result: Result<R, BoxError>) -> Result<R, Error> {
        let Some(peers) = self.runner.state().peers() else {
            return result.map_err(|cause| named(call, cause));
        };
        let own = result.as_ref().err().map_or_else(String::new, |cause| WithCauses(&**cause).to_string());
        let all = peers.gather(own.as_bytes()).map_err(|cause| named(call, cause))?;
        let result = result.map_err(|cause| named(call, cause))?;
        match all.iter().enumerate().find(|(_, text)| !text.is_empty()) {
            None => Ok(result),
            Some((rank, text)) => {
                let text = String::from_utf8_lossy(text);
                Err(Error::config(format!("`{call}`: rank {rank} failed: {text}")))
            }
        }
    }

    /// An error if other ranks have a part of the state.
    fn refuse_ranks(&self) -> Result<(), BoxError> {
        match self.runner.state().peers() {
            None => Ok(()),
            Some(_) => Err("the state is that of several ranks; save and restore it by a `saver`".into()),
        }
    }

    fn save_state(&mut self, name: &str) -> Result<PathBuf, BoxError> {
        self.refuse_ranks()?;
        let path = self.path(name, "")?;
        if !self.overwrites && self.is_state(name) {
            return Err(self.taken(name));
        }
        let run = self.runner.run();
        let mut parts = save_parts(run.unit_mut())?;
        parts.insert(RUN.to_owned(), run.run_state()?);
        let train = run.state().train_progress();
        let snapshot = Snapshot { step: train.steps, epoch: train.epochs, parts, ..Snapshot::default() };
        let mut writer = Writer::open(&path, "fitloop")?;
        writer.sweep();
        writer.save(&snapshot)?;
        writer.prune(&Keep::all().last(1));
        Ok(path)
    }

    fn load_state(&mut self, name: &str) -> Result<(), BoxError> {
        self.refuse_ranks()?;
        let found = Checkpoints::in_dir(self.path(name, "")?).load(Which::Latest)?;
        let mut parts: BTreeMap<String, StateDict> = match found {
            Some(found) => found.content,
            None => return Err(self.unknown(name, &self.states()?)),
        };
        let state = parts.remove(RUN).ok_or("it is no state of a `FitLoop`")?;
        put_back(self.runner.run(), &parts, &state)
    }

    fn write_model(&mut self, name: &str) -> Result<PathBuf, BoxError> {
        let path = self.path(name, MODEL)?;
        if !self.overwrites && path.exists() {
            return Err(self.taken(name));
        }
        let weights = self.runner.unit_mut().engine_mut().state(Part::Module)?;
        fs::create_dir_all(&self.folder).map_err(|cause| at(&self.folder, &cause))?;
        replace_with(&path, |new| safetensors::save_file(&weights, new))
            .map_err(|cause: BoxError| format!("`{}`: {cause}", path.display()))?;
        Ok(path)
    }

    fn read_model(&self, name: &str) -> Result<StateDict, BoxError> {
        let path = self.path(name, MODEL)?;
        if !path.is_file() {
            return Err(self.unknown(name, &self.models()?));
        }
        safetensors::load_file(path)
    }

    /// Takes up the weights of rank 0.
    fn load_weights(&mut self, own: &StateDict) -> Result<(), BoxError> {
        let first = self.runner.state().peers().map(|peers| peers.state_of_first(own)).transpose()?;
        self.runner.unit_mut().load_weights(first.as_ref().unwrap_or(own))?;
        self.runner.run().set_other_weights();
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), BoxError> {
        let (state, model) = (self.path(name, "")?, self.path(name, MODEL)?);
        let (has_state, has_model) = (self.is_state(name), model.exists());
        if !has_state && !has_model {
            let mut names = [self.states()?, self.models()?].concat();
            names.sort();
            names.dedup();
            return Err(self.unknown(name, &names));
        }
        if has_model {
            fs::remove_file(&model).map_err(|cause| at(&model, &cause))?;
        }
        if has_state {
            fs::remove_dir_all(&state).map_err(|cause| at(&state, &cause))?;
        }
        Ok(())
    }

    /// The path of `name`, which may not lead out of the folder.
    fn path(&self, name: &str, extension: &str) -> Result<PathBuf, BoxError> {
        let mut parts = Path::new(name).components();
        let is_file_name =
            matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
        if !is_file_name || name.starts_with('.') || name.contains(['/', '\\', ':']) {
            return Err(format!("`{name}` cannot be a name in a folder; give a plain one, as `first`").into());
        }
        Ok(self.folder.join(format!("{name}{extension}")))
    }

    /// The names of the states in the folder, in order.
    fn states(&self) -> Result<Vec<String>, BoxError> {
        let names = self.names()?.into_iter();
        Ok(names.filter(|name| self.is_state(name)).collect())
    }

    /// Whether the folder `name` has checkpoints.
    fn is_state(&self, name: &str) -> bool {
        let folder = self.folder.join(name);
        folder.is_dir()
            && Checkpoints::in_dir(folder)
                .list()
                .is_ok_and(|found| !(found.checkpoints.is_empty() && found.skipped.is_empty()))
    }

    /// The names of the models in the folder, in order.
    fn models(&self) -> Result<Vec<String>, BoxError> {
        let name = |file: String| Some(file.strip_suffix(MODEL)?.to_owned());
        Ok(self.names()?.into_iter().filter_map(name).collect())
    }

    /// The names of the files in the folder, in order, without those that begin with a dot.
    fn names(&self) -> Result<Vec<String>, BoxError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|cause| at(&self.folder, &cause))?,
        };
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        let names: io::Result<Vec<String>> = entries.map(name).collect();
        let mut names = names.map_err(|cause| at(&self.folder, &cause))?;
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        Ok(names)
    }

    fn taken(&self, name: &str) -> BoxError {
        let folder = self.folder.display();
        format!("there is a `{name}` in `{folder}` already; give another name, or set `overwrite(true)`")
            .into()
    }

    fn unknown(&self, name: &str, names: &[String]) -> BoxError {
        let folder = self.folder.display();
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        match names.is_empty() {
            true => format!("there is no `{name}` in `{folder}`, and no other").into(),
            false => format!("there is no `{name}` in `{folder}`; there are {}", names.join(", ")).into(),
        }
    }
}

fn named(call: &str, cause: BoxError) -> Error {
    Error::config(format!("`{call}`: {}", WithCauses(&*cause)))
}

fn at(path: &Path, cause: &io::Error) -> BoxError {
    format!("`{}`: {cause}", path.display()).into()
}
