//! The output of the programs of `Runner` and `FitLoop`: that of the ones on Burn, with numbers masked.
//! And the replays of `digits-torch`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../examples/tests/programs/check.rs"]
mod check;
#[path = "../../../examples/tests/programs/replay.rs"]
mod replay;

use check::check;
use replay::check_replays;

#[test]
fn runner_minimal() {
    let expected = include_str!("../../../examples/tests/programs/runner-minimal.txt");
    check("runner-minimal-torch", &[], expected);
}

#[test]
fn runner_real() {
    let expected = include_str!("../../../examples/tests/programs/runner-real.txt");
    check("runner-real-torch", &["--epochs", "3"], expected);
}

#[test]
fn fitloop_basic() {
    let expected = include_str!("../../../examples/tests/programs/fitloop-basic.txt");
    check("fitloop-basic-torch", &[], expected);
}

#[test]
fn fitloop_full() {
    let expected = include_str!("../../../examples/tests/programs/fitloop-full.txt");
    check("fitloop-full-torch", &["--ask", "2"], expected);
}

#[test]
fn digits_makes_steps_again_to_the_bit() {
    check_replays("digits-torch");
}
