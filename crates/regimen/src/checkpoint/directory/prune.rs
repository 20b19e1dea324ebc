//! The removal of checkpoints that are not kept, and of the leftovers of a dead process.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::error::{CheckpointError, failed};
use crate::checkpoint::format::manifest;
use crate::checkpoint::format::manifest::part_file;
use crate::checkpoint::format::name::{DELETED, Name, is_leftover};
use crate::checkpoint::{Checkpoint, Keep, Store};

/// The directories removed from a run directory, and those that could not be.
///
/// A failure hurts nothing but the disk's free space: the directory in question is tried again by
/// the next [`prune`](crate::checkpoint::Writer::prune) or [`sweep`](crate::checkpoint::Writer::sweep).
#[derive(Debug, Default)]
pub struct PruneReport {
    /// The directories removed, by the names they had.
    pub removed: Vec<PathBuf>,
    /// Why others could not be removed.
    pub failures: Vec<CheckpointError>,
}

/// Removes those of `saved` that `keep` does not ask for, from the disk and from the list.
pub(crate) fn prune(store: &dyn Store, dir: &Path, saved: &mut Vec<Checkpoint>, keep: &Keep) -> PruneReport {
    let mut result = PruneReport::default();
    let manifests: Vec<_> = saved.iter().map(Checkpoint::manifest).collect();
    let mut doomed = Vec::new();
    for i in keep.surplus(&manifests).into_iter().rev() {
        match set_aside(store, dir, &saved[i]) {
            Ok(aside) => {
                let checkpoint = saved.remove(i);
                match aside {
                    Aside::Moved(to) => doomed.push(to),
                    Aside::Gone => {}
                    // The target of a link is not ours to remove, nor is the link.
                    Aside::Link => continue,
                }
                result.removed.push(checkpoint.path().to_owned());
            }
            Err(error) => result.failures.push(error),
        }
    }
    if doomed.is_empty() {
        return result;
    }
    // Without this a power cut could bring back the old name over a directory that is half gone.
    if let Err(error) = store.sync_dir(dir) {
        result.failures.push(failed("sync", dir)(error));
        return result;
    }
    result.failures.extend(doomed.iter().filter_map(|path| remove(store, path).err()));
    result
}

/// Removes the leftovers in `dir` of a process that died.
pub(crate) fn sweep(store: &dyn Store, dir: &Path) -> PruneReport {
    let mut result = PruneReport::default();
    let entries = match store.list(dir) {
        Ok(entries) => entries,
        Err(error) => {
            result.failures.push(failed("list", dir)(error));
            return result;
        }
    };
    result.failures.extend(store.sweep(dir).map_err(failed("sweep", dir)).err());
    for entry in entries.iter().filter(|entry| entry.is_dir && is_leftover(&entry.name)) {
        let path = dir.join(&entry.name);
        match remove(store, &path) {
            Ok(()) => result.removed.push(path),
            Err(error) => result.failures.push(error),
        }
    }
    result
}

/// Removes the files of a checkpoint that failed, if that can be done: an error here
/// would hide the one that matters, and the next sweep tries again.
pub(crate) fn abandon(store: &dyn Store, path: &Path) {
    let _ = remove(store, path);
}

/// The new place of a checkpoint that is not kept.
enum Aside {
    /// It has this name now.
    Moved(PathBuf),
    /// It did not exist any more.
    Gone,
    /// Its name is a link, and stays.
    Link,
}

/// Renames a checkpoint to a name that no listing reads.
fn set_aside(store: &dyn Store, dir: &Path, checkpoint: &Checkpoint) -> Result<Aside, CheckpointError> {
    let (path, manifest) = (checkpoint.path(), checkpoint.manifest());
    let entries = store.list(dir).map_err(failed("list", dir))?;
    match entries.iter().find(|entry| path.file_name() == Some(entry.name.as_ref())) {
        None => return Ok(Aside::Gone),
        Some(entry) if !entry.is_dir => return Ok(Aside::Link),
        Some(_) => {}
    }
    let files = match store.list(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Aside::Gone),
        files => files.map_err(failed("list", path))?,
    };
    let ours: BTreeSet<String> = manifest.parts.keys().map(|name| part_file(name)).collect();
    if let Some(other) = files.iter().find(|file| file.name != manifest::FILE && !ours.contains(&file.name)) {
        return Err(CheckpointError::new("remove", &path.join(&other.name), "it is not of the checkpoint"));
    }
    let name = Name::free(&entries, DELETED, manifest.step, !manifest.resumable);
    let aside = dir.join(format!("{DELETED}{name}"));
    store.rename(path, &aside).map_err(failed("rename", path))?;
    Ok(Aside::Moved(aside))
}

/// Removes a directory of ours with its files. If anything else is in it, that stays, and the directory with it.
fn remove(store: &dyn Store, path: &Path) -> Result<(), CheckpointError> {
    for file in store.list(path).map_err(failed("list", path))? {
        if file.name == manifest::FILE || file.name.ends_with(".safetensors") {
            let file = path.join(file.name);
            store.remove_file(&file).map_err(failed("remove", &file))?;
        }
    }
    store.remove_dir(path).map_err(failed("remove", path))
}
