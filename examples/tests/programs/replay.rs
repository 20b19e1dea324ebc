//! Steps of a digits program that are made again.

use std::path::Path;
use std::process::Output;

use super::check::{folder, program};

/// Trains two epochs, and makes some of their steps again: equal to the bit, except with another setting.
#[track_caller]
pub(crate) fn check_replays(name: &str) {
    let dir = folder(&format!("{name}-replayed"));
    let run = |more: &[&str]| {
        let mut program = program(name);
        program.current_dir(&dir).args(["--epochs", "2", "--augment", "--workers", "2", "--out", "out"]);
        let Output { status, stdout, stderr } = program.args(more).output().unwrap();
        let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (status.code(), stdout, stderr)
    };
    let (code, _, stderr) = run(&["--log-every", "1"]);
    assert_eq!(code, Some(0), "{stderr}");
    // 1,079 digits in batches of 64, and a checkpoint per epoch.
    for (step, place, from) in [
        ("1", "batch 0 of epoch 0, 64 samples", "the beginning"),
        ("17", "batch 16 of epoch 0, 55 samples", "the beginning"),
        ("18", "batch 0 of epoch 1, 64 samples", "out/step-000000017"),
        ("34", "batch 16 of epoch 1, 55 samples", "out/step-000000017"),
    ] {
        let (code, stdout, stderr) = run(&["--replay", step]);
        let loss = logged_loss(&dir.join("out/metrics.jsonl"), step);
        let first = format!("step {step}: {place}, from {from}\n");
        assert!(stdout.starts_with(&first), "{stdout}{stderr}");
        let line = format!("train/loss {loss}: metrics.jsonl has {loss}, equal to the last bit\n");
        assert!(stdout.contains(&line), "{stdout}is without\n{line}");
        assert_eq!(code, Some(0), "{stdout}{stderr}");
    }
    let (code, stdout, _) = run(&["--replay", "20", "--dropout", "0.3"]);
    assert!(stdout.contains("\nhyper-parameters differ: `dropout`"), "{stdout}");
    assert!(
        stdout.lines().any(|line| line.starts_with("train/loss") && line.ends_with("NOT equal")),
        "{stdout}"
    );
    assert_eq!(code, Some(1));
    let (code, _, stderr) = run(&["--replay", "20", "--seed", "8"]);
    assert_eq!(stderr, "error: `out` is of the seed 7, and this run has 8; give it `seed(7)`\n");
    assert_eq!(code, Some(1));
}

/// The loss of a step in a log, as a number and written as one.
#[track_caller]
fn logged_loss(log: &Path, step: &str) -> f64 {
    let log = std::fs::read_to_string(log).unwrap();
    let before = format!("{{\"step\":{step},\"phase\":\"train\",\"name\":\"train/loss\",\"value\":");
    let mut lines =
        log.lines().filter_map(|line| line.strip_prefix(&before)?.strip_suffix(",\"epoch\":null}"));
    lines.next().unwrap().parse().unwrap()
}
