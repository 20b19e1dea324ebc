//! Checkpoints with mutated files: damaged, or signed again so that they look valid.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use regimen::BoxError;
use regimen::checkpoint::{Checkpoints, Keep, SimDisk, Snapshot, Store, Which, Writer};
use regimen::random::Random;
use regimen::saved::StateDict;

use super::Subject;
use super::safetensors::{arrays, dict, ours};
use crate::fuzz::corpus::Corpus;
use crate::fuzz::trial::{Fault, Trial, demand};

const DIR: &str = "/run";
const NEWEST: &str = "/run/step-000000002";
const MANIFEST: &str = "/run/step-000000002/MANIFEST";
const PART: &str = "/run/step-000000002/module.safetensors";

const WORDS: &[&[u8]] = &[
    b"metric NaN eval/loss\n",
    b"metric inf a\n",
    b"part 0 00000000 other\n",
    b"part 8 00000000 ../module\n",
    b"resumable no\n",
    b"step ",
    b"save ",
    b"\n",
    b"regimen checkpoint 2\n",
    b"-",
];

/// A run directory with checkpoints of two steps, the newest of which is mutated.
#[derive(Debug)]
pub(super) struct Checkpoint {
    disk: SimDisk,
    saved: [BTreeMap<String, StateDict>; 2],
    manifest: Corpus,
    part: Corpus,
}

/// The mutation of the newest checkpoint.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    Damaged,
    SignedManifest,
    SignedPart,
}

impl Checkpoint {
    pub(super) fn new() -> Result<Self, BoxError> {
        let disk = SimDisk::new();
        let mut writer = Writer::open_on(Arc::new(disk.clone()), DIR, "r")?;
        let saved = [1_u64, 2].map(|step| -> Result<_, BoxError> {
            let mut module = dict()?;
            module.insert("step", step)?;
            let mut run = StateDict::new();
            run.insert("progress", step)?;
            let parts = BTreeMap::from([("module".to_owned(), module), ("run".to_owned(), run)]);
            let metrics = [("eval/loss".to_owned(), 0.5 / step as f64)].into();
            writer.save(&Snapshot { step, metrics, parts: parts.clone(), ..Snapshot::default() })?;
            Ok(parts)
        });
        let [first, second] = saved;
        let (manifest, part) = (read(&disk, MANIFEST)?, read(&disk, PART)?);
        let (manifest, part) = (Corpus::new(vec![manifest], WORDS), Corpus::new(vec![part], WORDS));
        Ok(Checkpoint { disk, saved: [first?, second?], manifest, part })
    }

    /// Returns a disk with the newest checkpoint mutated.
    fn changed(&self, random: &mut Random) -> Result<(SimDisk, Change, bool), BoxError> {
        let disk = self.disk.after_power_cut(1);
        let of_part = random.below(2) == 0;
        let (file, corpus) = if of_part { (PART, &self.part) } else { (MANIFEST, &self.manifest) };
        let original = read(&disk, file)?;
        let mut drawn = corpus.draw(random);
        let mut change = Change::Damaged;
        if random.below(2) == 0 {
            change = if of_part { Change::SignedPart } else { Change::SignedManifest };
            if of_part {
                let (old, new) = (line(&original), line(&drawn.bytes));
                let manifest = String::from_utf8(read(&disk, MANIFEST)?)?.replace(&old, &new);
                replace(&disk, MANIFEST, &signed(manifest.into_bytes()))?;
            } else {
                drawn.bytes = signed(drawn.bytes);
            }
        }
        replace(&disk, file, &drawn.bytes)?;
        let is_whole = drawn.bytes == original;
        Ok((disk, change, is_whole))
    }
}

impl Subject for Checkpoint {
    fn name(&self) -> &'static str {
        "checkpoints"
    }

    fn attempt(&self, random: &mut Random, trial: &mut Trial) -> Result<(), Fault> {
        let (disk, change, is_whole) = self.changed(random)?;
        // Both checkpoints, with both files of each.
        let size = 2 * (read(&disk, MANIFEST)?.len() + read(&disk, PART)?.len());
        let store: Arc<dyn Store> = Arc::new(disk.clone());
        let checkpoints = Checkpoints::on(store.clone(), DIR);
        let read_all = trial.read(size, || {
            for checkpoint in checkpoints.list()?.checkpoints {
                // The loaded result shows whether verification is right.
                let _ = checkpoint.verify();
                let parts = checkpoint.manifest().parts.keys();
                parts.for_each(|part| drop(checkpoint.read_header(part)));
            }
            Ok(checkpoints.load(Which::Latest)?)
        })?;
        let found =
            read_all.map_err(|why| Fault::Mismatch(format!("the valid checkpoint is not found: {why}")))?;
        let found = found.ok_or_else(|| Fault::Mismatch("the valid checkpoint is not found".into()))?;
        let is_newest = found.checkpoint.path() == Path::new(NEWEST);
        let may_be_newest = is_whole || change != Change::Damaged;
        demand(is_newest || !is_whole, || format!("a valid checkpoint is skipped: {:?}", found.skipped))?;
        demand(may_be_newest || !is_newest, || "a damaged checkpoint is loaded".into())?;
        for (name, dict) in &found.content {
            let expected = match (change, &**name) {
                (Change::SignedPart, "module") if is_newest => arrays(&read(&disk, PART)?),
                _ => {
                    self.saved[usize::from(is_newest)].get(name).map(ours).ok_or("nobody has saved it".into())
                }
            };
            demand(expected.as_ref() == Ok(&ours(dict)), || {
                format!("part `{name}` is {:?}, not {expected:?}", ours(dict))
            })?;
        }
        self.goes_on(store, size, trial)
    }
}

impl Checkpoint {
    /// Checks that a checkpoint saved afterwards can be read.
    fn goes_on(&self, store: Arc<dyn Store>, size: usize, trial: &mut Trial) -> Result<(), Fault> {
        let saved = trial.read(size, || {
            let mut writer = Writer::open_on(store.clone(), DIR, "r")?;
            writer.sweep();
            writer.save(&Snapshot { step: 3, parts: self.saved[0].clone(), ..Snapshot::default() })?;
            writer.prune(&Keep::all().last(1));
            Ok(())
        })?;
        if saved.is_err() {
            return Ok(());
        }
        let found = trial.read(size, || Ok(Checkpoints::on(store, DIR).load(Which::Latest)?))?;
        let step = found.map(|found| found.map(|found| found.checkpoint.manifest().step));
        demand(step == Ok(Some(3)), || {
            format!("a save of step 3 is acknowledged, and {step:?} is the newest")
        })
    }
}

/// The manifest line of a part with these bytes.
fn line(part: &[u8]) -> String {
    format!("part {} {:08x} module\n", part.len(), crc32fast::hash(part))
}

/// Appends the correct checksum to a manifest.
fn signed(mut text: Vec<u8>) -> Vec<u8> {
    const SIGN: &[u8] = b"checksum ";
    if let Some(at) = text.windows(SIGN.len()).rposition(|window| window == SIGN) {
        text.truncate(at);
    }
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    let checksum = crc32fast::hash(&text);
    text.extend_from_slice(format!("checksum {checksum:08x}\n").as_bytes());
    text
}

fn read(disk: &SimDisk, file: &str) -> Result<Vec<u8>, BoxError> {
    let mut bytes = Vec::new();
    disk.open(Path::new(file))?.bytes.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn replace(disk: &SimDisk, file: &str, bytes: &[u8]) -> Result<(), BoxError> {
    let file = Path::new(file);
    disk.remove_file(file)?;
    let mut new = disk.create(file)?;
    new.write_all(bytes)?;
    Ok(new.sync()?)
}
