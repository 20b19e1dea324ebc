//! Old checkpoints are kept as test data, and every later version reads them.

use std::collections::BTreeMap;
use std::path::Path;

use regimen::checkpoint::{Checkpoints, Snapshot, Which, Writer};
use regimen::random::Random;
use regimen::saved::{Array, Dtype, StateDict};

fn data() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/checkpoint-v1"))
}

/// The content of the checkpoint of format 1. It is on disk, so it must not change.
fn version_1() -> Snapshot {
    let mut module = StateDict::new();
    let weight: Vec<u8> = [0.5_f32, -1.25, f32::NAN, 0.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    module.insert("dense.weight", Array::new(Dtype::F32, vec![2, 2], weight).unwrap()).unwrap();
    module.insert("mask", Array::new(Dtype::Bool, vec![3], vec![1, 0, 1]).unwrap()).unwrap();
    module.insert("half", Array::new(Dtype::BF16, vec![1], vec![0x80, 0x3f]).unwrap()).unwrap();
    let mut run = StateDict::new();
    run.insert("seed", u64::MAX).unwrap();
    run.insert("reason", Array::from_text("the loss did not improve")).unwrap();
    Snapshot {
        step: 3,
        epoch: 1,
        post_mortem: false,
        metrics: BTreeMap::from([("eval/loss".to_owned(), 0.0), ("train/loss".to_owned(), f64::NAN)]),
        parts: BTreeMap::from([
            ("empty".to_owned(), StateDict::new()),
            ("module".to_owned(), module),
            ("run".to_owned(), run),
        ]),
    }
}

#[test]
fn a_checkpoint_of_format_1_is_read() {
    let found = Checkpoints::in_dir(data()).load(Which::Latest).unwrap().unwrap();
    let (manifest, expected) = (found.checkpoint.manifest(), version_1());
    assert_eq!((&*manifest.run, manifest.save), ("run-of-format-1", 1));
    assert_eq!((manifest.step, manifest.epoch, manifest.resumable), (3, 1, true));
    assert_eq!(format!("{:?}", manifest.metrics), format!("{:?}", expected.metrics));
    assert_eq!(found.content, expected.parts);
}

#[test]
fn format_1_is_still_written_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let written = Writer::open(dir.path(), "run-of-format-1").unwrap().save(&version_1()).unwrap();
    let files = ["MANIFEST", "empty.safetensors", "module.safetensors", "run.safetensors"];
    for file in files {
        let read = |dir: &Path| std::fs::read(dir.join(file)).unwrap();
        assert_eq!(read(written.path()), read(&data().join("step-000000003")), "{file}");
    }
    assert_eq!(std::fs::read_dir(written.path()).unwrap().count(), files.len());
}

#[test]
fn values_in_a_manifest_are_read_to_the_last_bit() {
    let mut random = Random::new(1);
    let metrics: BTreeMap<String, f64> = (0..1_000).map(|n| (n.to_string(), 1e3 * random.normal())).collect();
    let dir = tempfile::tempdir().unwrap();
    let snapshot = Snapshot { metrics: metrics.clone(), ..Snapshot::default() };
    Writer::open(dir.path(), "run").unwrap().save(&snapshot).unwrap();
    let found = Checkpoints::in_dir(dir.path()).load(Which::Latest).unwrap().unwrap();
    assert_eq!(found.checkpoint.manifest().metrics, metrics);
}
