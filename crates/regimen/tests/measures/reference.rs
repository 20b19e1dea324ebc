//! Values of the packages of Python.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest difference from a reference that passes, relative to it if it is more than 1.
const TOLERANCE: f64 = 1e-12;

/// The answer of `script`, a file of this folder, to `cases`: it reads JSON from its standard input and writes JSON
/// to its output, for all cases at once. A number that is not finite is `null` in both.
///
/// Returns `None` if `REGIMEN_METRICS_PYTHON` names no Python with the packages.
#[allow(clippy::print_stdout, reason = "a check that did not run says so")]
pub(crate) fn answers<A: DeserializeOwned>(script: &str, cases: &impl Serialize) -> Option<A> {
    let Some(python) = std::env::var_os("REGIMEN_METRICS_PYTHON") else {
        println!("NOT RUN: REGIMEN_METRICS_PYTHON names no Python with the packages of requirements.txt");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/measures").join(script);
    let mut command = Command::new(python);
    let mut child = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // A script reads everything before it writes, so neither waits for the other.
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(cases).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the script ended with {}", output.status);
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Fails unless `found` is `expected` but for rounding; `case` tells which one it is.
#[track_caller]
pub(crate) fn assert_close(found: Option<f64>, expected: Option<f64>, case: &str) {
    let is_close = match (found, expected) {
        (Some(found), Some(expected)) => (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0),
        (None, None) => true,
        _ => false,
    };
    assert!(is_close, "{found:?} instead of {expected:?}: {case}");
}
