//! A save to which every rank writes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use regimen_core::BoxError;
use regimen_core::error::WithCauses;
use regimen_core::peers::Peers;
use regimen_core::run::Moment;
use regimen_core::saved::{Array, StateDict};
use regimen_core::text::Count;

use super::background::{Archive, Conditions};
use super::session::{Session, writes};
use super::settings::Settings;
use crate::checkpoint::directory::files::write_parts;
use crate::checkpoint::directory::writer::Draft;
use crate::checkpoint::error::{CheckpointError, failed};
use crate::checkpoint::format::manifest::part_file;
use crate::checkpoint::format::piece::Piece;
use crate::checkpoint::{PartFile, Snapshot, Store};

impl Session {
    /// Saves a snapshot in pieces, together with the other ranks, and waits until it is durable.
    pub(super) fn save_together(
        &mut self,
        settings: &Settings,
        moment: &Moment<'_>,
        snapshot: &Snapshot,
        conditions: Conditions,
    ) -> Result<(), BoxError> {
        let peers = moment.state().peers().ok_or("there are pieces, and no other ranks to write theirs")?;
        let archive = if writes(moment) { Some(self.open(settings)?.archive()) } else { None };
        save(archive, settings, &**peers, snapshot, conditions)
            .inspect_err(|why| settings.stats.fail(WithCauses(&**why).to_string()))
    }
}

/// Saves a snapshot of which each rank has its pieces. Every rank calls it, and rank 0 gives the archive.
///
/// ```text
/// rank 0      begin the draft
/// all         learn its name, or the error
/// each rank   write its pieces into it, and sync them; rank 0 also the parts that are whole
/// all         learn names, lengths and checksums of all files, or the error
/// all         commit
/// rank 0      check that the pieces are there; write the manifest, rename, sync; acknowledge
/// all         learn that it is durable, or the error
/// ```
///
/// The error of a rank is an [`AgreedError`](regimen_core::peers::AgreedError) on all of them. Rank 0 then abandons the
/// draft, as it does if a rank is lost. If it is lost itself, the next writer sweeps the draft.
fn save(
    archive: Option<&Mutex<Archive>>,
    settings: &Settings,
    peers: &dyn Peers,
    snapshot: &Snapshot,
    conditions: Conditions,
) -> Result<(), BoxError> {
    let mut archive = archive.map(|archive| archive.lock().unwrap_or_else(PoisonError::into_inner));
    conditions.finite.map_or(Ok(()), |finite| finite.check(snapshot))?;
    let mut draft = None;
    let begun = archive.as_mut().map_or(Ok(()), |archive| {
        conditions.first.into_iter().try_for_each(|work| work())?;
        draft = Some(archive.writer.begin(snapshot)?);
        Ok(())
    });
    let store = settings.store();
    let write = || {
        peers.agree(begun)?;
        let name = draft.as_ref().and_then(|draft| draft.temporary.file_name());
        let name = peers.text_of_first(&name.unwrap_or_default().to_string_lossy())?;
        let files = write_own(&*store, &settings.dir.join(name), snapshot, peers);
        let files = gather(peers, peers.agree(files)?)?;
        peers.commit()?;
        let Some((archive, draft)) = archive.as_mut().zip(draft.take()) else { return peers.agree(Ok(())) };
        peers.agree(finish(archive, draft, files, conditions.began, &*store))
    };
    let saved = write();
    if let Some((archive, draft)) = archive.zip(draft) {
        archive.writer.abandon(&draft);
    }
    saved
}

/// Writes the files of this rank to the directory `dir`.
fn write_own(
    store: &dyn Store,
    dir: &Path,
    snapshot: &Snapshot,
    peers: &dyn Peers,
) -> Result<BTreeMap<String, PartFile>, BoxError> {
    let mut files: Vec<_> = snapshot.files(true).collect();
    if peers.rank().is_first() {
        files.extend(snapshot.files(false));
    }
    let files = write_parts(store, dir, &files, 1)?;
    // On another machine the names of new files may not be durable by the sync of rank 0.
    store.sync_dir(dir).map_err(failed("sync", dir))?;
    Ok(files)
}

/// The files of all ranks.
fn gather(
    peers: &dyn Peers,
    own: BTreeMap<String, PartFile>,
) -> Result<BTreeMap<String, PartFile>, BoxError> {
    let mut dict = StateDict::new();
    for (name, PartFile { length, checksum }) in own {
        dict.insert(name, Array::from_slice(&[length, u64::from(checksum)]))?;
    }
    let mut files = BTreeMap::new();
    for (name, file) in peers.gather_states(&dict)?.into_iter().flatten() {
        let [length, checksum] = file.to_vec::<u64>()?[..] else {
            return Err(format!("another rank has no length and checksum of `{name}`").into());
        };
        files.insert(name, PartFile { length, checksum: u32::try_from(checksum)? });
    }
    Ok(files)
}

/// Makes a checkpoint of the files that all ranks have written, and acknowledges it.
fn finish(
    archive: &mut Archive,
    draft: Draft,
    files: BTreeMap<String, PartFile>,
    began: Option<Instant>,
    store: &dyn Store,
) -> Result<(), BoxError> {
    let is_seen = files.iter().try_for_each(|(name, file)| check_seen(store, &draft.temporary, name, *file));
    if let Err(unseen) = is_seen {
        archive.writer.abandon(&draft);
        return Err(unseen.into());
    }
    let checkpoint = archive.writer.commit(draft, files)?;
    archive.acknowledge(checkpoint, began);
    Ok(())
}

/// Returns an error unless rank 0 sees the piece called `name` as it was written: in a directory that is another one on
/// each machine, it would be missing from the checkpoint.
fn check_seen(store: &dyn Store, dir: &Path, name: &str, file: PartFile) -> Result<(), CheckpointError> {
    let Some(piece) = Piece::parse(name) else { return Ok(()) };
    let path = dir.join(part_file(name));
    let (rank, length) = (piece.number - 1, file.length);
    let found = store.open(&path).map(|opened| opened.length);
    let why = match found {
        Ok(found) if found == length => return Ok(()),
        Ok(found) => format!("it is {} long, and rank {rank} has written {length}", Count(found, "byte")),
        Err(cause) => format!("rank {rank} has written it: {cause}"),
    };
    Err(CheckpointError::new("find", &path, format!("{why}; all ranks must see one directory")))
}
