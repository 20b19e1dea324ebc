//! Every acknowledged save can be restored: the limits are the same on both sides.

use std::collections::BTreeMap;
use std::path::Path;

use regimen::checkpoint::{Goal, SimDisk, Snapshot, Which};
use regimen::saved::{MAX_COUNT, StateDict};

use super::common::*;

/// Saves `saved` as step 1 after a first save, and checks that it can be loaded, or is refused with
/// `refusal` and leaves nothing behind.
#[track_caller]
fn check(saved: Snapshot, refusal: Option<&str>) {
    let disk = SimDisk::new();
    let mut writer = writer(&disk);
    writer.save(&snapshot(0, 0)).unwrap();
    let result = writer.save(&Snapshot { step: 1, ..saved.clone() });
    let found = checkpoints(&disk).load(Which::Latest).unwrap().unwrap();
    match (result, refusal) {
        (Ok(_), None) => {
            assert!(found.skipped.is_empty(), "{}", found.skipped[0]);
            assert_eq!(found.content, saved.parts);
            assert_eq!(found.checkpoint.manifest().metrics, saved.metrics);
            found.checkpoint.verify().unwrap();
        }
        (Err(error), Some(refusal)) => {
            let error = error.to_string();
            assert!(error.contains(refusal), "{error}");
            assert_eq!(found.content, parts(0));
            assert_eq!(names(&disk), ["step-000000000"]);
            // The next save succeeds.
            writer.save(&snapshot(2, 2)).unwrap();
        }
        (result, _) => panic!("{:?} and not {refusal:?}", result.map(drop)),
    }
}

/// A part of `n` arrays with names of a million letters.
fn with_long_names(n: usize) -> Snapshot {
    let (mut dict, name) = (StateDict::new(), "n".repeat(1_000_000));
    (0..n).for_each(|i| dict.insert(format!("{name}{i}"), i as u8).unwrap());
    Snapshot { parts: BTreeMap::from([("m".to_owned(), dict)]), ..Snapshot::default() }
}

#[test]
fn a_header_that_readers_would_refuse_is_refused_by_the_save() {
    check(with_long_names(98), None);
    check(
        with_long_names(100),
        Some(
            "the names and shapes of 100 arrays make a header of 100005376 bytes, and 100000000 are the most",
        ),
    );
}

/// So many metrics, each of which takes 71 bytes of a manifest.
fn with_metrics(n: usize) -> Snapshot {
    let metric = |i| (format!("eval/per-class/accuracy/of-the-class-with-number-{i:010}"), 0.5);
    Snapshot { metrics: (0..n).map(metric).collect(), ..Snapshot::default() }
}

#[test]
fn a_manifest_that_a_restore_would_refuse_is_refused_by_the_save() {
    check(with_metrics(236_000), None);
    check(
        with_metrics(237_000),
        Some("237000 metrics and 0 parts make 16827085 bytes, and 16777216 are the most"),
    );
}

#[test]
fn a_metric_may_have_any_name() {
    let names = ["eval/acc/cat\r", "a\nb", "\0", "\u{85}", "c:\\cat", "\"", "\u{202e}", ""];
    let metrics: BTreeMap<String, f64> = names.iter().map(|name| ((*name).to_owned(), 0.5)).collect();
    check(Snapshot { metrics: metrics.clone(), ..Snapshot::default() }, None);

    // It is found under its name.
    let disk = SimDisk::new();
    writer(&disk).save(&Snapshot { metrics, ..snapshot(7, 7) }).unwrap();
    let best = checkpoints(&disk).best_by("eval/acc/cat\r", Goal::Max).load(Which::Best).unwrap().unwrap();
    assert_eq!(best.content, parts(7));
}

/// Replaces `from` by `to` in the manifest of the only checkpoint, and signs it again.
fn forge(disk: &SimDisk, from: &str, to: &str) {
    let file = Path::new(DIR).join("step-000000001/MANIFEST");
    let text = String::from_utf8(content(disk, &file)).unwrap();
    let body = text.rsplit_once("checksum ").unwrap().0;
    assert!(body.contains(from), "{body}");
    let body = body.replacen(from, to, 1);
    let text = format!("{body}checksum {:08x}\n", crc32fast::hash(body.as_bytes()));
    put(disk, &file, text.as_bytes());
}

#[test]
fn counts_that_no_run_comes_to_are_errors_however_well_signed() {
    for (field, value) in [("save", 1), ("step", 1), ("epoch", 0)] {
        for count in [u64::MAX, u64::MAX - 1, MAX_COUNT + 1] {
            let disk = SimDisk::new();
            writer(&disk).save(&snapshot(1, 1)).unwrap();
            forge(&disk, &format!("{field} {value}\n"), &format!("{field} {count}\n"));
            let error = checkpoints(&disk).load(Which::Latest).unwrap_err().to_string();
            let expected = format!("{field} {count} is more than {MAX_COUNT}, which no run comes to");
            assert!(error.contains(&expected), "{error}");
            // Nor do they prevent a save.
            writer(&disk).save(&snapshot(1, 2)).unwrap();
            assert_eq!(checkpoints(&disk).load(Which::Latest).unwrap().unwrap().content, parts(2));
        }
    }
}

#[test]
fn a_save_that_would_count_too_far_is_refused() {
    let refusal = format!("is more than {MAX_COUNT}");
    let disk = SimDisk::new();
    for step in [u64::MAX, MAX_COUNT + 1] {
        let error = writer(&disk).save(&snapshot(step, 1)).unwrap_err().to_string();
        assert!(error.contains(&refusal), "{error}");
    }
    writer(&disk).save(&snapshot(1, 1)).unwrap();
    forge(&disk, "save 1\n", &format!("save {MAX_COUNT}\n"));
    let error = writer(&disk).save(&snapshot(2, 2)).unwrap_err().to_string();
    assert!(error.contains(&refusal), "{error}");
}

#[test]
fn what_is_called_whole_can_be_read() {
    let disk = SimDisk::new();
    writer(&disk).save(&snapshot(1, 1)).unwrap();
    let file = Path::new(DIR).join("step-000000001/module.safetensors");
    let right = content(&disk, &file);
    // None is a safetensors file, and each has the right checksum.
    let cut = right[..right.len() - 1].to_vec();
    let mut shape = right.clone();
    let at = shape.windows(5).position(|bytes| bytes == b"[2,3]").unwrap();
    shape[at + 1] = b'4';
    for wrong in [Vec::new(), b"notes".to_vec(), cut, shape] {
        let part = |bytes: &[u8]| format!("part {} {:08x} module", bytes.len(), crc32fast::hash(bytes));
        forge(&disk, &part(&content(&disk, &file)), &part(&wrong));
        put(&disk, &file, &wrong);
        let listing = checkpoints(&disk).list().unwrap();
        let [checkpoint] = &*listing.checkpoints else { panic!("{:?}", listing.skipped) };
        let read = checkpoint.read_all().unwrap_err().to_string();
        assert!(read.contains("module.safetensors"), "{read}");
        assert_eq!(checkpoint.verify().unwrap_err().to_string(), read);
    }
}
