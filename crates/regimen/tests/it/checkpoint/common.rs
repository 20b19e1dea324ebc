//! Parts that the tests save, and views of a disk.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use regimen::checkpoint::{Checkpoints, SimDisk, Snapshot, Store, Writer};
use regimen::saved::{Array, Dtype, StateDict};

pub(crate) const DIR: &str = "/runs/digits";
pub(crate) const RUN: &str = "run-1";

/// The parts that a test saves as the `save`-th; no two saves have an array in common.
pub(crate) fn parts(save: u64) -> BTreeMap<String, StateDict> {
    let mut module = StateDict::new();
    let weight: Vec<u8> = (0..24).map(|i| (save as u8).wrapping_mul(31) ^ i).collect();
    module.insert("weight", Array::new(Dtype::F32, vec![2, 3], weight).unwrap()).unwrap();
    module.insert("bias", Array::from_slice(&[save as f64 + 0.5; 3])).unwrap();
    let mut run = StateDict::new();
    run.insert("save", save).unwrap();
    BTreeMap::from([("module".to_owned(), module), ("run".to_owned(), run)])
}

/// A snapshot of `step` that holds the [`parts`] of the `save`-th.
pub(crate) fn snapshot(step: u64, save: u64) -> Snapshot {
    Snapshot { step, epoch: step / 10, parts: parts(save), ..Snapshot::default() }
}

pub(crate) fn writer(disk: &SimDisk) -> Writer {
    Writer::open_on(Arc::new(disk.clone()), DIR, RUN).unwrap()
}

pub(crate) fn checkpoints(disk: &SimDisk) -> Checkpoints {
    Checkpoints::on(Arc::new(disk.clone()), DIR)
}

/// The names in the run directory, in order.
pub(crate) fn names(disk: &SimDisk) -> Vec<String> {
    disk.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name).collect()
}

/// Every file in a directory of the run.
pub(crate) fn files(disk: &SimDisk, name: &str) -> Vec<PathBuf> {
    let dir = Path::new(DIR).join(name);
    disk.list(&dir).unwrap().into_iter().map(|entry| dir.join(entry.name)).collect()
}

pub(crate) fn content(disk: &SimDisk, file: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    disk.open(file).unwrap().bytes.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Gives `file` another content, unnoticed by all checksums.
pub(crate) fn put(disk: &SimDisk, file: &Path, bytes: &[u8]) {
    let _ = disk.remove_file(file);
    let mut new = disk.create(file).unwrap();
    new.write_all(bytes).unwrap();
    new.sync().unwrap();
}

/// Numbers that are random enough for tests, the same ones for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let z = (z ^ (z >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        z ^ (z >> 32)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// The number of cases of a test: `cases`, or that of the environment variable `name`.
pub(crate) fn cases(name: &str, cases: u64) -> u64 {
    std::env::var(name).map_or(cases, |text| text.parse().unwrap())
}
