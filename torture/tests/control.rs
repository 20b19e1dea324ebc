//! The fuzz detects every control reader, each by its own column of the table.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

/// Whether each promise was broken, in the order of the columns: panics, hangs, crashes,
/// mismatches, over memory.
fn broken(table: &str, reader: &str) -> [bool; 5] {
    let row = table.lines().find_map(|line| line.strip_prefix(reader)).unwrap();
    let counts: Vec<_> = row.split_whitespace().skip(2).take(5).map(|count| count != "0").collect();
    counts.try_into().unwrap()
}

#[test]
fn every_broken_promise_is_found_in_a_control_that_breaks_it() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("control");
    std::fs::create_dir_all(&folder).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_torture")).arg("--control").current_dir(folder).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{table}");
    let check = |reader: &str, expected: [u8; 5]| {
        assert_eq!(broken(&table, reader), expected.map(|count| count != 0), "{reader}\n{table}");
    };
    check("keeps all", [0, 0, 0, 0, 0]);
    check("panics", [1, 0, 0, 0, 0]);
    check("guards a panic", [1, 0, 0, 0, 0]);
    check("hangs", [0, 1, 0, 0, 0]);
    check("aborts", [0, 0, 1, 0, 0]);
    check("overflows", [0, 0, 1, 0, 0]);
    check("reads otherwise", [0, 0, 0, 1, 0]);
    check("takes memory", [0, 0, 0, 0, 1]);
}
