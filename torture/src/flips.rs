//! Bit flips and truncations in the checkpoints of a real training run.

use std::fs;
use std::path::{Path, PathBuf};

use regimen::BoxError;
use regimen::checkpoint::{Checkpoints, Which};
use regimen::random::Random;

use crate::tally::Tally;
use crate::train::Training;
use crate::walk::Expected;

const DIR: &str = "flips";

/// Number of checkpoints, for steps 1 to this.
const CHECKPOINTS: u64 = 3;

pub(crate) fn flips(n: u64) -> Result<Tally, BoxError> {
    let mut tally = Tally::new("flips", n);
    Training { steps: CHECKPOINTS, keep_last: CHECKPOINTS as usize, ..Training::new(DIR) }
        .run()?
        .success()?;
    let (mut random, mut expected) = (Random::new(3), Expected::new());
    for _ in 0..n {
        // The newest is damaged, and half the time the one before it.
        let broken = 1 + random.below(2);
        let mut originals = Vec::new();
        for step in CHECKPOINTS - broken + 1..=CHECKPOINTS {
            let file = any_file(step, &mut random)?;
            let bytes = fs::read(&file)?;
            fs::write(&file, damaged(&bytes, &mut random))?;
            originals.push((file, bytes));
        }
        let files = originals.iter().rev().map(|(file, _)| file.clone()).collect();
        tally.count(check(CHECKPOINTS - broken, files, &mut expected).map_err(|why| why.to_string()));
        for (file, bytes) in originals {
            fs::write(file, bytes)?;
        }
    }
    Ok(tally)
}

/// Asserts that the checkpoint of `step` is loaded and each of `broken` is reported, newest first.
fn check(step: u64, broken: Vec<PathBuf>, expected: &mut Expected) -> Result<(), BoxError> {
    let found = Checkpoints::in_dir(DIR).load(Which::Latest)?;
    let found = found.ok_or_else(|| format!("no checkpoint is found besides {broken:?}"))?;
    let loaded = found.checkpoint.manifest().step;
    if loaded != step {
        return Err(format!("step {loaded} is loaded, not {step}, with {broken:?} damaged").into());
    }
    let mut named: Vec<_> = found.skipped.iter().map(|skipped| skipped.reason.path().to_owned()).collect();
    // A damaged manifest is found before a damaged part.
    named.sort_by(|a, b| b.cmp(a));
    if named != broken {
        return Err(format!("{named:?} are named, not {broken:?}").into());
    }
    let is_as_saved = expected.at(step)?.iter().all(|(name, dict)| found.content.get(name) == Some(dict));
    if is_as_saved { Ok(()) } else { Err(format!("step {step} differs from the saved one").into()) }
}

fn any_file(step: u64, random: &mut Random) -> Result<PathBuf, BoxError> {
    let dir = Path::new(DIR).join(format!("step-{step:09}"));
    let files = fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
    let mut files = files.collect::<std::io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files.swap_remove(random.below(files.len() as u64) as usize))
}

/// Returns `bytes` with one bit flipped or, one time in four, truncated.
fn damaged(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if random.below(4) == 0 {
        bytes.truncate(random.below(bytes.len() as u64) as usize);
    } else {
        let bit = random.below(8 * bytes.len() as u64) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    bytes
}
