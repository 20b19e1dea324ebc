//! The files of one checkpoint, as they are written.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

use regimen_core::BoxError;
use regimen_core::saved::StateDict;

use crate::checkpoint::Store;
use crate::checkpoint::error::{CheckpointError, failed};
use crate::checkpoint::format::checksum::Checked;
use crate::checkpoint::format::manifest::{Manifest, PartFile, part_file};
use crate::checkpoint::format::{manifest, safetensors};

/// Writes the manifest to the directory `dir`, and syncs everything but the directory's own name.
pub(crate) fn write_manifest(
    store: &dyn Store,
    dir: &Path,
    manifest: &Manifest,
) -> Result<(), CheckpointError> {
    let file = dir.join(manifest::FILE);
    let text = manifest.render().map_err(failed("write", &file))?;
    write_file(store, &file, |out| Ok(out.write_all(text.as_bytes())?))?;
    store.sync_dir(dir).map_err(failed("sync", dir))
}

/// Writes the files of all parts to the directory `dir`, and syncs them, as many at a time as there are threads.
pub(crate) fn write_parts(
    store: &dyn Store,
    dir: &Path,
    parts: &[(&str, &StateDict)],
    threads: usize,
) -> Result<BTreeMap<String, PartFile>, CheckpointError> {
    let mut largest_first = parts.to_vec();
    largest_first
        .sort_by_cached_key(|(_, dict)| Reverse(dict.iter().map(|(_, a)| a.bytes().len()).sum::<usize>()));
    let (count, queue) = (parts.len(), Mutex::new(largest_first.into_iter()));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let one = |(name, dict): (&str, &StateDict)| {
            let part = write_part(store, &dir.join(part_file(name)), dict)?;
            Ok((name.to_owned(), part))
        };
        std::iter::from_fn(next).map(one).collect::<Result<Vec<_>, CheckpointError>>()
    };
    thread::scope(|scope| {
        // If the system has no more threads, this one does it all.
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let helpers: Vec<_> = (1..threads.min(count)).filter_map(spawn).collect();
        let mut written = work()?;
        for helper in helpers {
            let theirs =
                helper.join().map_err(|_| CheckpointError::new("write", dir, "a thread panicked"))?;
            written.extend(theirs?);
        }
        Ok(written.into_iter().collect())
    })
}

/// Writes the file of one part, and syncs it.
fn write_part(store: &dyn Store, file: &Path, dict: &StateDict) -> Result<PartFile, CheckpointError> {
    write_file(store, file, |out| safetensors::encode(dict, out))
}

/// Writes one file, and syncs it.
fn write_file(
    store: &dyn Store,
    file: &Path,
    content: impl FnOnce(&mut dyn Write) -> Result<(), BoxError>,
) -> Result<PartFile, CheckpointError> {
    let new = store.create(file).map_err(failed("create", file))?;
    // Large arrays pass the buffer by; it gathers the header and the many small ones.
    let mut out = BufWriter::with_capacity(64 * 1024, Checked::new(new));
    content(&mut out).map_err(failed("write", file))?;
    let checked = out.into_inner().map_err(|error| failed("write", file)(error.into_error()))?;
    let (new, length, checksum) = checked.finish();
    new.sync().map_err(failed("sync", file))?;
    Ok(PartFile { length, checksum })
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::checkpoint::SimDisk;

    fn write(disk: &SimDisk, threads: usize) -> Result<BTreeMap<String, PartFile>, CheckpointError> {
        let mut parts = BTreeMap::new();
        for part in 0..5_u64 {
            let mut dict = StateDict::new();
            dict.insert("value", part).unwrap();
            parts.insert(part.to_string(), dict);
        }
        let parts: Vec<_> = parts.iter().map(|(name, dict): (&String, _)| (&**name, dict)).collect();
        write_parts(disk, Path::new("/"), &parts, threads)
    }

    #[test]
    fn any_number_of_threads_writes_the_same_parts() {
        let one = write(&SimDisk::new(), 1).unwrap();
        assert_eq!(one.len(), 5);
        for threads in [0, 2, 3, 9] {
            assert_eq!(write(&SimDisk::new(), threads).unwrap(), one);
        }
    }

    #[test]
    fn a_failure_on_any_thread_is_returned() {
        let whole = SimDisk::new();
        write(&whole, 2).unwrap();
        for n in 0..whole.operations() {
            let disk = SimDisk::new();
            disk.fail_at(n, ErrorKind::StorageFull);
            let error = write(&disk, 2).unwrap_err();
            assert!(error.path().extension().is_some_and(|end| end == "safetensors"), "{error}");
        }
    }
}
