//! Cost of checkpoints: a durable save and a restore, compared with a plain file of the same bytes,
//! and the step time of a training run with background saves, compared with one without.
//!
//! Usage: `checkpoint FOLDER`, on the disk under test.

mod background;
mod restore;
mod save;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use regimen::BoxError;
use regimen::checkpoint::Snapshot;
use regimen::random::Random;
use regimen::saved::{Array, Dtype, StateDict};

fn main() -> Result<(), BoxError> {
    let folder = std::env::args().nth(1).ok_or("usage: checkpoint FOLDER")?;
    let folder = Path::new(&folder);
    // Before the large files, whose removal keeps the disk busy for a while.
    background::measure(folder)?;
    save::measure(folder)?;
    restore::measure(folder)
}

/// A state of `megabytes` with the proportions of a network under Adam: the weights, and two
/// numbers per weight.
fn snapshot(megabytes: usize) -> Result<Snapshot, BoxError> {
    let (mut random, bytes) = (Random::new(42), megabytes << 20);
    let mut part = |bytes: usize| -> Result<StateDict, BoxError> {
        let mut part = StateDict::new();
        for layer in 0..4 {
            let numbers = bytes / 16;
            let values = (0..numbers.div_ceil(2)).flat_map(|_| random.bits().to_le_bytes());
            let values = values.take(4 * numbers).collect();
            part.insert(format!("layer{layer}.weight"), Array::new(Dtype::F32, vec![numbers], values)?)?;
        }
        Ok(part)
    };
    let parts = [("module", part(bytes / 3)?), ("optimizer", part(bytes - bytes / 3)?)];
    let parts: BTreeMap<_, _> = parts.map(|(name, part)| (name.to_owned(), part)).into();
    Ok(Snapshot { parts, ..Snapshot::default() })
}

/// Writes the same bytes to one file and syncs it, the lower bound of a durable save. Returns the seconds.
fn write_plainly(snapshot: &Snapshot, path: &Path) -> Result<f64, BoxError> {
    let begun = Instant::now();
    let mut file = File::create(path)?;
    for (_, array) in snapshot.parts.values().flat_map(StateDict::iter) {
        file.write_all(array.bytes())?;
    }
    file.sync_all()?;
    Ok(begun.elapsed().as_secs_f64())
}
