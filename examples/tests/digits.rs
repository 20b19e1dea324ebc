//! `digits` from the user's side: wrong flags, bad files, Ctrl-C and resume.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The example, which cargo built next to this test.
fn digits() -> Command {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    Command::new(profile.join("examples").join(format!("digits{}", std::env::consts::EXE_SUFFIX)))
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs with invalid flags, and checks the exit code and a part of the message.
#[track_caller]
fn check_refused(args: &[&str], code: i32, message: &str) {
    let Output { status, stderr, .. } = digits().args(args).output().unwrap();
    let stderr = text(&stderr);
    assert!(stderr.contains(message), "{args:?} says: {stderr}");
    assert_eq!(status.code(), Some(code), "{args:?}: {stderr}");
}

#[test]
fn what_cannot_work_is_an_error_that_says_what_to_do() {
    let folder = folder("refused");
    let file = folder.join("a-file");
    std::fs::write(&file, "not a folder").unwrap();
    let damaged = folder.join("damaged");
    std::fs::create_dir_all(&damaged).unwrap();
    std::fs::write(damaged.join("t10k-images-idx3-ubyte"), [0, 0, 8, 3, 0, 0, 0, 9]).unwrap();
    std::fs::write(damaged.join("t10k-labels-idx1-ubyte"), [0, 0, 8, 1, 0, 0, 0, 1, 7]).unwrap();
    let [file, damaged] = [&file, &damaged].map(|path| path.to_str().unwrap());

    check_refused(&["--device", "abacus"], 1, "this build has no device `abacus`; it has: cpu");
    check_refused(&["--data", "no/such/folder"], 1, "no MNIST files in `no/such/folder`");
    check_refused(&["--data", damaged], 1, "t10k-images-idx3-ubyte");
    check_refused(&["--out", file, "--epochs", "1"], 1, "a-file");
    check_refused(&["--epochs", "one"], 2, "invalid value 'one'");
    check_refused(&["--batch-size", "0"], 2, "give 1 or more");
    check_refused(&["--accumulate", "0"], 2, "give 1 or more");
    check_refused(&["--dropout", "1"], 2, "give 0 or more, and less than 1");
    check_refused(&["--clip", "0", "--epochs", "1"], 1, "`clip_norm`: a limit must be greater than 0");
    check_refused(&["--precision", "f32"], 2, "there are: fp32, tf32, bf16, fp16");
    check_refused(&["--precision", "tf32", "--epochs", "1"], 1, "Burn has no switch for tf32");
    check_refused(&["--ema", "2", "--epochs", "1"], 1, "the decay is 2; give one from 0 to 1");
    check_refused(&["--lr", "NaN", "--epochs", "1"], 1, "up to --lr NaN");
    check_refused(&["--epochs", "1", "--batch-size", "2000"], 1, "--epochs 1, --batch-size 2000");
    check_refused(&["--no-such-flag"], 2, "--no-such-flag");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_the_logs_is_an_error_that_names_the_file() {
    let folder = folder("full");
    std::os::unix::fs::symlink("/dev/full", folder.join("metrics.jsonl")).unwrap();
    let out = folder.to_str().unwrap();
    let Output { status, stderr, .. } = digits().args(["--epochs", "1", "--out", out]).output().unwrap();
    let stderr = text(&stderr);
    // A log never overwrites an existing file: it is moved aside or the run is refused.
    if !status.success() {
        assert!(stderr.contains("metrics.jsonl"), "{stderr}");
        assert_eq!(status.code(), Some(1));
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_at_a_step_and_the_same_command_goes_on_from_there() {
    let folder = folder("interrupted");
    let out = folder.to_str().unwrap();
    let args = ["--epochs", "3", "--out", out, "--augment", "--workers", "2"];
    let mut running = digits().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A logged metric shows that it is training.
    let log = folder.join("metrics.jsonl");
    while std::fs::metadata(&log).map_or(0, |log| log.len()) == 0 {
        assert!(running.try_wait().unwrap().is_none(), "it ended before it could be interrupted");
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &running.id().to_string()]).status().unwrap().success());
    let Output { status, stderr, .. } = running.wait_with_output().unwrap();
    let stderr = text(&stderr);
    assert_eq!(status.code(), Some(130), "{stderr}");
    assert!(stderr.lines().any(|line| line.starts_with("training paused: SIGINT after")), "{stderr}");

    let Output { status, stdout, stderr } = digits().args(args).output().unwrap();
    let stdout = text(&stdout);
    assert!(status.success(), "{}", text(&stderr));
    assert!(stdout.starts_with("resuming from step "), "{stdout}");
    let last = stdout.lines().last().unwrap();
    assert!(last.starts_with("held-out accuracy: 0."), "{last}");

    // The logs and the result are those of an uninterrupted run.
    let whole = self::folder("whole");
    let args = ["--epochs", "3", "--out", whole.to_str().unwrap(), "--augment"];
    let uninterrupted = digits().args(args).output().unwrap();
    assert_eq!(text(&uninterrupted.stdout).lines().last(), Some(last));
    let read = |folder: &Path| std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    assert_eq!(read(&folder), read(&whole));
}

#[test]
fn a_profile_accounts_for_the_whole_run() {
    let folder = folder("profile");
    let run =
        digits().args(["--epochs", "2", "--profile", "--out", "."]).current_dir(&folder).output().unwrap();
    assert!(run.status.success(), "{}", text(&run.stderr));
    let profile = std::fs::read(folder.join("profile.json")).unwrap();
    let profile: serde_json::Value = serde_json::from_slice(&profile).unwrap();
    let seconds = |block: &serde_json::Value| block["seconds"].as_f64().unwrap();
    let inside =
        |block: &serde_json::Value| block["blocks"].as_array().unwrap().iter().map(seconds).sum::<f64>();
    let fit = &profile["blocks"][0];
    let blocks = fit["blocks"].as_array().unwrap();
    let training = blocks.iter().find(|block| block["name"] == "training").unwrap();
    // All of it, but for the rounding of the sums.
    for (inside, whole) in [
        (inside(&profile), profile["wall_seconds"].as_f64().unwrap()),
        (inside(fit), seconds(fit)),
        (inside(training), seconds(training)),
    ] {
        assert!((inside - whole).abs() < 1e-6, "{inside} s of {whole} s are in blocks");
    }
    let sentence = profile["sentence"].as_str().unwrap();
    assert!(text(&run.stdout).contains(&format!("{sentence}\n\nblock ")), "{}", text(&run.stdout));
}

#[test]
fn a_rate_is_found_and_the_training_has_the_bytes_of_one_without() {
    let folder = folder("rates");
    let run = |out: &str, args: &[&str]| {
        let args = [&["--epochs", "1", "--out", out], args].concat();
        let Output { status, stdout, stderr } = digits().current_dir(&folder).args(args).output().unwrap();
        assert!(status.success(), "{}", text(&stderr));
        text(&stdout)
    };
    let (plain, found) = (run("plain", &[]), run("found", &["--find-rate"]));
    let (suggestion, rest) = found.split_once('\n').unwrap();
    assert_eq!(rest, plain);
    let rate = suggestion.strip_prefix("suggestion: --lr ").and_then(|rest| rest.split(';').next()).unwrap();
    assert!((1e-4..1e-1).contains(&rate.parse().unwrap()), "{suggestion}");
    let svg = std::fs::read_to_string(folder.join("rates.svg")).unwrap();
    assert!(svg.contains("suggestion: 0.0"), "{svg}");
    let files = |out: &str| {
        let newest = std::fs::read_dir(folder.join(out)).unwrap().map(|entry| entry.unwrap().path());
        let newest = newest.filter(|path| path.join("module.safetensors").exists()).max().unwrap();
        let weights = std::fs::read(newest.join("module.safetensors")).unwrap();
        (weights, std::fs::read(folder.join(out).join("metrics.jsonl")).unwrap())
    };
    assert!(files("plain") == files("found"), "the weights or the metrics differ");
}
