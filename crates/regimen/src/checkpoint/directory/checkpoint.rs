//! A checkpoint on disk, opened to be read.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::saved::StateDict;
use regimen_core::text::Count;

use crate::checkpoint::error::{CheckpointError, failed};
use crate::checkpoint::format::checksum::Checked;
use crate::checkpoint::format::limits::MAX_MANIFEST;
use crate::checkpoint::format::manifest::{Manifest, PartFile, part_file};
use crate::checkpoint::format::name::Name;
use crate::checkpoint::format::safetensors::Header;
use crate::checkpoint::format::{manifest, safetensors};
use crate::checkpoint::{Disk, Store};

/// A checkpoint on disk whose manifest was read and checked.
///
/// A part is read on access, and returned only if its length and checksum are those of the manifest.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    store: Arc<dyn Store>,
    path: PathBuf,
    manifest: Manifest,
}

impl Checkpoint {
    /// Opens the checkpoint in the directory `path`: reads and checks its manifest.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, CheckpointError> {
        Checkpoint::open_on(Arc::new(Disk), path)
    }

    /// The same in another store.
    pub fn open_on(store: Arc<dyn Store>, path: impl Into<PathBuf>) -> Result<Self, CheckpointError> {
        let path = path.into();
        let file = path.join(manifest::FILE);
        let manifest = read_manifest(&*store, &file).map_err(failed("read", &file))?;
        // A copy may have any other name, but a step's name must be the right one.
        let name = path.file_name().and_then(|name| Name::parse(name.to_str()?));
        if name.is_some_and(|name| (name.step, !name.post_mortem) != (manifest.step, manifest.resumable)) {
            let kind = if manifest.resumable { "resumable" } else { "post-mortem" };
            let cause = format!("it is of the {kind} checkpoint of step {}", manifest.step);
            return Err(CheckpointError::new("use", &file, cause));
        }
        Ok(Checkpoint { store, path, manifest })
    }

    pub(crate) fn new(store: Arc<dyn Store>, path: PathBuf, manifest: Manifest) -> Self {
        Checkpoint { store, path, manifest }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Reads every part to its end and checks it: what this accepts, [`read_all`](Checkpoint::read_all)
    /// reads. The error names the first file that is damaged.
    pub fn verify(&self) -> Result<(), CheckpointError> {
        self.manifest.part_names().into_iter().try_for_each(|part| self.verify_part(part))
    }

    /// Reads and checks one part. It is an error if no part has that name.
    pub fn read(&self, name: &str) -> Result<StateDict, CheckpointError> {
        if self.manifest.files_of(name).next().is_none() {
            return self.read_file(name);
        }
        let mut whole = StateDict::new();
        for file in self.manifest.files_of(name) {
            let arrays = self.read_file(file)?;
            if whole.is_empty() {
                whole = arrays;
                continue;
            }
            let mut arrays = arrays.into_iter();
            let added = arrays.try_for_each(|(name, array)| whole.insert(name, array));
            added.map_err(failed("read", &self.path.join(part_file(file))))?;
        }
        Ok(whole)
    }

    /// Reads and checks one file of the manifest: a part, or a piece of one.
    pub(crate) fn read_file(&self, name: &str) -> Result<StateDict, CheckpointError> {
        self.checked(name, safetensors::decode)
    }

    /// Checks the files of one part, as [`verify`](Checkpoint::verify) does those of all.
    pub(crate) fn verify_part(&self, part: &str) -> Result<(), CheckpointError> {
        let drain = |source: &mut dyn Read, length| {
            let header = safetensors::decode_header(source, length)?;
            io::copy(source, &mut io::sink())?;
            Ok(header)
        };
        let mut names = BTreeSet::new();
        for file in self.manifest.files_of(part) {
            for (name, _) in self.checked(file, drain)? {
                if let Some(name) = names.replace(name) {
                    let cause = format!("another piece has an array `{name}` too");
                    return Err(CheckpointError::new("read", &self.path.join(part_file(file)), cause));
                }
            }
        }
        Ok(())
    }

    /// Reads and checks every part.
    pub fn read_all(&self) -> Result<BTreeMap<String, StateDict>, CheckpointError> {
        let names = self.manifest.part_names().into_iter();
        names.map(|name| Ok((name.to_owned(), self.read(name)?))).collect()
    }

    /// Names, types and shapes of the arrays in one of the [files](Manifest::parts), without reading these:
    /// *unchecked*.
    pub fn read_header(&self, name: &str) -> Result<Header, CheckpointError> {
        let (file, part) = self.part(name)?;
        let read = || safetensors::decode_header(&mut *self.open_part(&file, part)?, part.length);
        read().map_err(failed("read", &file))
    }

    /// Hands the bytes of a part to `read`, and its result on when the bytes were the right ones.
    fn checked<T>(
        &self,
        name: &str,
        read: impl FnOnce(&mut dyn Read, u64) -> Result<T, BoxError>,
    ) -> Result<T, CheckpointError> {
        let (file, part) = self.part(name)?;
        let read = || -> Result<T, BoxError> {
            let mut source = Checked::new(self.open_part(&file, part)?);
            let value = read(&mut source, part.length)?;
            let (_, length, checksum) = source.finish();
            if length != part.length {
                return Err(format!("it ends after {length} of {}", Count(part.length, "byte")).into());
            }
            if checksum != part.checksum {
                let expected = part.checksum;
                return Err(
                    format!("its checksum is {checksum:08x}, not {expected:08x}: it is damaged").into()
                );
            }
            Ok(value)
        };
        read().map_err(failed("read", &file))
    }

    /// The file called `name`.
    fn part(&self, name: &str) -> Result<(PathBuf, PartFile), CheckpointError> {
        let part = self.manifest.parts.get(name).copied();
        let part = part.ok_or_else(|| format!("it has no part `{name}`"));
        Ok((self.path.join(part_file(name)), part.map_err(failed("read", &self.path))?))
    }

    fn open_part(&self, file: &Path, part: PartFile) -> Result<Box<dyn Read + Send>, BoxError> {
        let opened = self.store.open(file)?;
        if opened.length != part.length {
            return Err(format!("it is {} long, not {}", Count(opened.length, "byte"), part.length).into());
        }
        Ok(opened.bytes)
    }
}

fn read_manifest(store: &dyn Store, file: &Path) -> Result<Manifest, BoxError> {
    let opened = store.open(file)?;
    if MAX_MANIFEST < opened.length {
        return Err(format!("{} bytes are too many for a manifest", opened.length).into());
    }
    let mut text = Vec::new();
    opened.bytes.take(MAX_MANIFEST).read_to_end(&mut text)?;
    Manifest::parse(&text)
}
