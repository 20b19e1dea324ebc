//! Forbidden words in sources.

use crate::project::{Source, crate_sources, files};

/// Panics if a line of code in `sources` contains one of `words`.
fn refuse(sources: &[Source], words: &[&str], why: &str) {
    let mut found = Vec::new();
    for source in sources {
        for (number, line) in source.code() {
            for word in words.iter().filter(|word| holds(line, word)) {
                found.push(format!("{}:{number}: `{word}`", source.path));
            }
        }
    }
    assert!(found.is_empty(), "{why}:\n{}", found.join("\n"));
}

/// Returns `true` if `line` contains `word`, and not as a part of a longer name.
fn holds(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let longer_before = word.starts_with(is_name) && line[..at].ends_with(is_name);
        let longer_after = word.ends_with(is_name) && line[at + word.len()..].starts_with(is_name);
        !longer_before && !longer_after
    })
}

fn core() -> Vec<Source> {
    let mut sources = crate_sources();
    sources.retain(|source| source.path.starts_with("crates/regimen-core/"));
    sources
}

fn without(mut sources: Vec<Source>, but: &[&str]) -> Vec<Source> {
    sources.retain(|source| !but.iter().any(|path| source.path.starts_with(path)));
    sources
}

#[test]
fn the_core_touches_no_file_network_clock_or_process() {
    let words =
        ["std::fs", "std::io", "std::net", "std::time", "std::env", "std::process", "Instant", "SystemTime"];
    refuse(&core(), &words, "the core has no I/O and no clock");
}

#[test]
fn the_core_has_no_unsafe_and_no_tensor() {
    refuse(&core(), &["unsafe"], "the core forbids unsafe code");
    refuse(&core(), &["Tensor", "burn::", "tch::"], "the core knows no tensor type");
}

#[test]
fn the_engine_on_libtorch_is_unsafe_in_its_shim_alone() {
    let mut sources = files("crates/regimen-torch", &[".rs"]);
    assert_ne!(sources.len(), 0, "no source was found: the rule would hold");
    sources.retain(|source| !source.path.starts_with("crates/regimen-torch/src/shim"));
    refuse(&sources, &["unsafe"], "calls to C++ are in src/shim");
}

#[test]
fn the_ranks_are_unsafe_in_a_file_per_library() {
    let mut sources = crate_sources();
    sources.retain(|source| source.path.starts_with("crates/regimen-dist/"));
    assert_ne!(sources.len(), 0, "no source was found: the rule would hold");
    let libraries = ["crates/regimen-dist/src/mpi/library.rs", "crates/regimen-dist/src/nccl/library.rs"];
    let others = without(sources, &libraries);
    refuse(&others, &["unsafe"], "calls to MPI and NCCL are in a library.rs");
    refuse(
        &without(others, &["crates/regimen-dist/src/mpi/watch.rs"]),
        &["stderr()", "exit("],
        "only the watchdog ends the process",
    );
}

#[test]
fn only_the_loops_fire_events() {
    let others = without(core(), &["crates/regimen-core/src/run/loops.rs"]);
    refuse(&others, &["fire(", "callbacks.send("], "events are fired in loops.rs alone");
}

#[test]
fn the_dispatcher_has_one_call_site() {
    let sources = core();
    let lines = sources.iter().flat_map(Source::code);
    assert_eq!(lines.filter(|(_, line)| line.contains("callbacks.send(")).count(), 1);
}

#[test]
fn nothing_follows_the_order_of_a_hash() {
    // A user's batch may be a map: its parts are moved, and no order matters.
    let others = without(crate_sources(), &["crates/regimen-core/src/engine/to_device.rs"]);
    refuse(&others, &["HashMap", "HashSet"], "everything saved, summed or logged is in the order of names");
}

#[test]
fn no_library_prints_or_panics() {
    // The suites of regimen-test are tests, which fail by panicking.
    let sources = without(crate_sources(), &["crates/regimen-test/"]);
    let panics =
        [".unwrap()", ".expect(", ".unwrap_err()", "panic!", "todo!", "unimplemented!", "unreachable!"];
    refuse(&sources, &panics, "a library returns errors");
    let prints = ["print!", "println!", "eprint!", "eprintln!", "dbg!"];
    refuse(&without(sources, &["crates/regimen-cli/"]), &prints, "a library does not print");
}

#[test]
fn no_test_is_ignored() {
    refuse(
        &files("crates", &[".rs"]),
        &["#[ignore"],
        "a test that cannot run says so in the table of `xtask ci`",
    );
}

#[test]
fn sources_are_ascii() {
    let not_ascii = |source: &Source| {
        let line = source.text.lines().position(|line| !line.is_ascii())?;
        Some(format!("{}:{}", source.path, line + 1))
    };
    let found: Vec<_> =
        files("", &[".rs", ".cpp", ".h", ".toml", ".py", ".yml"]).iter().filter_map(not_ascii).collect();
    assert!(found.is_empty(), "use escapes for characters beyond ASCII: {found:?}");
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    // Concatenated, so that this file does not contain them.
    let roots = ["root", "tmp", "work", "home/", "Users/"].map(|folder| format!("/{folder}"));
    let outside = |text: &str, root: &str| {
        text.match_indices(root).any(|(at, _)| {
            let (before, after) = (&text[..at], &text[at + root.len()..]);
            let begins = !before.ends_with(|c: char| c.is_alphanumeric() || "._-)}/~".contains(c));
            let ends = root.ends_with('/') || after.starts_with('/');
            begins && ends
        })
    };
    for source in files("", &["rs", "cpp", "h", "toml", "md", "py", "yml", "run", "txt"]) {
        for root in &roots {
            assert!(!outside(&source.text, root), "{} holds a path under {root}", source.path);
        }
    }
}

#[test]
fn a_word_is_found_as_a_whole() {
    assert!(holds("use std::fs;", "std::fs"));
    assert!(holds("value.unwrap()", ".unwrap()"));
    assert!(!holds("value.unwrap_or(1)", ".unwrap()"));
    assert!(!holds("eprintln!()", "println!"));
    assert!(!holds("the_fire(", "fire("));
    assert!(!holds("InstantNoodles", "Instant"));
}
