//! A checkpoint that was damaged after it was written is detected, named and passed over.

use std::path::{Path, PathBuf};

use regimen::checkpoint::{SimDisk, Snapshot, Which};

use super::common::*;

/// Random flips of a bit, cuts, and appended bytes, each on a separate file.
const DAMAGES: u64 = 10_000;

/// A disk with three checkpoints, of steps 10, 20 and 30.
fn disk() -> SimDisk {
    let disk = SimDisk::new();
    let mut writer = writer(&disk);
    for save in 1..=3 {
        writer.save(&snapshot(10 * save, save)).unwrap();
    }
    disk
}

/// Damages `file` in one random way.
fn damage(disk: &SimDisk, file: &Path, random: &mut Random) {
    let mut bytes = content(disk, file);
    match random.below(8) {
        0 => bytes.truncate(random.below(bytes.len() as u64) as usize),
        1 => bytes.push(random.next() as u8),
        _ => {
            let bit = random.below(8 * bytes.len() as u64) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
    put(disk, file, &bytes);
}

#[test]
fn every_damage_is_found_and_the_newest_older_good_one_is_loaded() {
    let (disk, mut random) = (disk(), Random(1));
    for case in 0..cases("REGIMEN_DAMAGES", DAMAGES) {
        let broken = 1 + random.below(2);
        let mut expected = Vec::new();
        let mut originals = Vec::new();
        for save in (4 - broken..=3).rev() {
            let files = files(&disk, &format!("step-{:09}", 10 * save));
            let file = files[random.below(files.len() as u64) as usize].clone();
            originals.push((file.clone(), content(&disk, &file)));
            damage(&disk, &file, &mut random);
            expected.push(file);
        }
        let found = checkpoints(&disk).load(Which::Latest).unwrap().unwrap();
        let save = found.checkpoint.manifest().save;
        assert_eq!(save, 3 - broken, "case {case}");
        assert_eq!(found.content, parts(save), "case {case}");
        let mut named: Vec<PathBuf> = found.skipped.iter().map(|s| s.reason.path().to_owned()).collect();
        named.sort();
        expected.sort();
        assert_eq!(named, expected, "case {case}");
        originals.iter().for_each(|(file, bytes)| put(&disk, file, bytes));
    }
}

#[test]
fn where_none_is_whole_the_error_names_every_file() {
    let (disk, mut random) = (disk(), Random(2));
    let doomed: Vec<PathBuf> =
        (1..=3).flat_map(|n| files(&disk, &format!("step-{:09}", 10 * n)).pop()).collect();
    doomed.iter().for_each(|file| damage(&disk, file, &mut random));
    let error = checkpoints(&disk).load(Which::Latest).unwrap_err().to_string();
    for file in doomed {
        assert!(error.contains(&file.display().to_string()), "{error}");
    }
}

/// Checks that the newest checkpoint is skipped for `reason`.
fn check_skipped(disk: &SimDisk, reason: &str) {
    let found =
        checkpoints(disk).load_with(Which::Latest, |checkpoint| checkpoint.verify()).unwrap().unwrap();
    assert_eq!(found.checkpoint.manifest().step, 20);
    assert!(found.skipped[0].to_string().contains(reason), "{}", found.skipped[0]);
}

#[test]
fn a_part_of_another_step_is_found_out() {
    let disk = disk();
    let part = |step| Path::new(DIR).join(format!("step-{step:09}/module.safetensors"));
    put(&disk, &part(30), &content(&disk, &part(10)));
    check_skipped(&disk, "step-000000030/module.safetensors`: its checksum is");
}

#[test]
fn a_manifest_of_another_step_is_found_out() {
    let disk = disk();
    // With equal parts only the step differs.
    let mut writer = writer(&disk);
    for step in [20, 30] {
        writer.save(&Snapshot { parts: parts(9), ..snapshot(step, 9) }).unwrap();
    }
    let manifest = |name| Path::new(DIR).join(name).join("MANIFEST");
    put(&disk, &manifest("step-000000030-2"), &content(&disk, &manifest("step-000000020-2")));
    check_skipped(&disk, "it is of the resumable checkpoint of step 20");
}

#[test]
fn a_part_that_is_missing_is_found_out() {
    use regimen::checkpoint::Store;
    let disk = disk();
    disk.remove_file(&Path::new(DIR).join("step-000000030/run.safetensors")).unwrap();
    check_skipped(&disk, "step-000000030/run.safetensors`: entity not found");
}

#[test]
fn a_manifest_of_a_later_format_is_skipped_and_says_so() {
    let disk = disk();
    let file = Path::new(DIR).join("step-000000030/MANIFEST");
    let text = String::from_utf8(content(&disk, &file)).unwrap();
    put(&disk, &file, text.replacen("checkpoint 1\n", "checkpoint 2\n", 1).as_bytes());
    check_skipped(&disk, "MANIFEST`: format 2 is not known; this version reads format 1");
}
