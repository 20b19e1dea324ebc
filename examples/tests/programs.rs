//! The output of the programs of `Runner` and `FitLoop`, with their numbers masked, and the replays of `digits`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "programs/check.rs"]
mod check;
#[path = "programs/replay.rs"]
mod replay;

use check::{check, folder, program};
use replay::check_replays;

#[test]
fn runner_minimal() {
    check("runner-minimal", &[], include_str!("programs/runner-minimal.txt"));
}

#[test]
fn runner_real() {
    check("runner-real", &["--epochs", "3"], include_str!("programs/runner-real.txt"));
}

#[test]
fn fitloop_basic() {
    check("fitloop-basic", &[], include_str!("programs/fitloop-basic.txt"));
}

#[test]
fn fitloop_full() {
    check("fitloop-full", &["--ask", "2"], include_str!("programs/fitloop-full.txt"));
}

#[test]
fn runner_real_goes_on_from_its_folder() {
    let folder = folder("resumed");
    let run = |epochs| {
        let mut program = program("runner-real");
        program.current_dir(&folder).args(["--epochs", epochs, "--out", "out"]);
        String::from_utf8(program.output().unwrap().stdout).unwrap()
    };
    let told = run("1");
    assert!(told.starts_with("best: out/step-000000017\n"), "{told}");
    for file in ["tensorboard", "epochs.csv"] {
        assert!(folder.join("out").join(file).exists(), "{file}");
    }
    let told = run("2");
    assert!(told.starts_with("resuming from step 17 (out/step-000000017)\n"), "{told}");
}

#[test]
fn digits_makes_steps_again_to_the_bit() {
    check_replays("digits");
}
