//! Runs restored from forged checkpoints with valid signatures.

use std::collections::BTreeMap;
use std::sync::Arc;

use regimen::auto_unit::EVAL_LOSS;
use regimen::callback::{EarlyStopping, Every};
use regimen::checkpoint::{Checkpointer, Checkpoints, SimDisk, Snapshot, Which, Writer};
use regimen::random::Random;
use regimen::saved::{Array, StateDict};
use regimen::{BoxError, Fit, Run};

use super::Subject;
use super::toy::{DATA, Toy};
use crate::fuzz::corpus::Corpus;
use crate::fuzz::mutate::{NUMBERS, pick};
use crate::fuzz::trial::{Fault, Trial, demand};

const DIR: &str = "/run";

/// The parts of a checkpoint taken in the middle of a `fit`.
#[derive(Debug)]
pub(super) struct Restores {
    snapshot: Snapshot,
    run: String,
}

impl Restores {
    pub(super) fn new() -> Result<Self, BoxError> {
        let disk = SimDisk::new();
        fit(&disk, 7)?;
        let found = Checkpoints::on(Arc::new(disk), DIR).load(Which::Latest)?.ok_or("nothing is saved")?;
        let manifest = found.checkpoint.manifest();
        let snapshot = Snapshot {
            step: manifest.step,
            epoch: manifest.epoch,
            parts: found.content.clone(),
            ..Snapshot::default()
        };
        Ok(Restores { run: manifest.run.clone(), snapshot })
    }
}

impl Restores {
    /// Returns a disk with only a checkpoint of `snapshot`, and its size.
    fn saved(&self, snapshot: &Snapshot) -> Result<(SimDisk, usize), BoxError> {
        let disk = SimDisk::new();
        let mut writer = Writer::open_on(Arc::new(disk.clone()), DIR, self.run.clone())?;
        let parts = writer.save(snapshot)?.manifest().parts.clone();
        Ok((disk, parts.values().map(|part| part.length as usize).sum()))
    }
}

/// Continues training from the disk until `steps` in total.
fn fit(disk: &SimDisk, steps: u64) -> Result<(), BoxError> {
    let mut unit = Toy::default();
    let saver = Checkpointer::new(DIR).store(Arc::new(disk.clone())).in_foreground();
    let mut run = Run::new(&mut unit).seed(3).callback(EarlyStopping::min(EVAL_LOSS, 3)).saver(saver);
    run.restore_latest()?;
    run.fit(&DATA, &DATA, Fit::steps(steps).eval_every(Every::steps(3)).eval_steps(3))?;
    Ok(())
}

impl Subject for Restores {
    fn name(&self) -> &'static str {
        "restored runs"
    }

    fn attempt(&self, random: &mut Random, trial: &mut Trial) -> Result<(), Fault> {
        let is_whole = random.below(32) == 0;
        let mut snapshot = self.snapshot.clone();
        if !is_whole {
            for _ in 0..=random.below(3) {
                change(&mut snapshot.parts, random)?;
            }
        }
        let (disk, size) = self.saved(&snapshot)?;
        let read = trial.read(size, || fit(&disk, 12))?;
        match read {
            Err(why) => demand(!is_whole, || format!("a valid checkpoint is refused: {why}")),
            Ok(()) => Ok(()),
        }
    }
}

/// Mutates one array of one part.
fn change(parts: &mut BTreeMap<String, StateDict>, random: &mut Random) -> Result<(), BoxError> {
    // The run's own part is drawn more often, as it holds most of the state.
    let names: Vec<_> = parts.keys().cloned().chain(["run".to_owned(), "run".to_owned()]).collect();
    let part = parts.get_mut(pick(&names, random)).ok_or("there is no such part")?;
    let names: Vec<_> = part.iter().map(|(name, _)| name.to_owned()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let name = pick(&names, random);
    let array = part.remove(name)?;
    if random.below(8) == 0 {
        return Ok(());
    }
    let (dtype, mut shape, bytes) = (array.dtype(), array.shape().to_vec(), array.bytes());
    let mut changed = Corpus::new(vec![bytes.to_vec()], &[]).changed(bytes, random);
    if dtype.size() == 8 && random.below(2) == 0 {
        // An integer or a float.
        changed = bytes.to_vec();
        if let Some(place) = changed.first_chunk_mut() {
            *place = pick(&NUMBERS, random).wrapping_sub(random.below(2)).to_le_bytes();
        }
    } else if shape.len() == 1 {
        // Strings and vectors may have any length.
        changed.truncate(changed.len() / dtype.size() * dtype.size());
        shape[0] = changed.len() / dtype.size();
    } else {
        changed.resize(bytes.len(), 0);
    }
    // A value that its type cannot hold, such as a bool of 7, cannot be built here.
    part.insert(name.clone(), Array::new(dtype, shape, changed).unwrap_or(array))
}
