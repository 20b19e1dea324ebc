//! The page for users of TorchTNT: its rows, the names in them, and the length of its programs.

use std::collections::BTreeSet;

use crate::exports::exports;
use crate::pages::{blocks, codes, length, read, rows};

const PAGE: &str = "docs/coming-from-torchtnt.md";

/// The programs of the page, in its order.
const PROGRAMS: [&str; 3] = ["tnt_unit", "tnt_auto_unit", "tnt_callback"];

#[test]
fn every_public_name_of_torchtnt_has_a_row() {
    let page = read(PAGE);
    let named: BTreeSet<&str> = rows(&page).flat_map(|row| codes(row[0])).collect();
    let names = read("xtask/tests/tidy/torchtnt-names.txt");
    let names: BTreeSet<&str> = names.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(named.symmetric_difference(&names).collect::<Vec<_>>(), <[&&str; 0]>::default());
}

#[test]
fn no_cell_of_the_page_is_empty() {
    let page = read(PAGE);
    let torn: Vec<_> = rows(&page).filter(|row| row.len() != 3 || row.contains(&"")).collect();
    assert!(torn.is_empty(), "rows without three full cells: {torn:?}");
}

#[test]
fn a_gap_says_what_to_use_today() {
    let page = read(PAGE);
    let silent: Vec<_> =
        rows(&page).filter(|row| row[1] == "not yet" && !row[2].contains("Today: ")).collect();
    assert!(silent.is_empty(), "rows without a word on today: {silent:?}");
}

// Names of `regimen` are links, which rustdoc checks.
#[test]
fn every_name_of_an_engine_crate_on_the_page_exists() {
    let page = read(PAGE);
    for package in ["regimen-burn", "regimen-dist", "regimen-torch", "regimen-test"] {
        let (prefix, exports) = (package.replace('-', "_") + "::", exports(package));
        let named = codes(&page).filter_map(|code| code.strip_prefix(&prefix));
        let unknown: Vec<_> = named.filter(|name| !exports.contains(*name)).collect();
        assert!(unknown.is_empty(), "{package} does not export {unknown:?}");
    }
}

#[test]
fn every_name_beside_one_of_torchtnt_is_a_link_or_of_an_engine_crate() {
    // Behind features that the documentation of the workspace is built without.
    const FEATURES: [&str; 1] = ["`callback::SystemMonitor`"];
    let page = read(PAGE);
    for name in rows(&page).flat_map(|row| row[1].split(", ").collect::<Vec<_>>()) {
        let is_link = name.starts_with("[`") && name.ends_with("`]");
        let is_of_engine = name.starts_with("`regimen_");
        let is_none = ["not yet", "no equivalent"].contains(&name);
        assert!(is_link || is_of_engine || is_none || FEATURES.contains(&name), "{name}");
    }
}

#[test]
fn the_programs_of_the_page_are_the_examples_and_little_longer_than_those_in_python() {
    let page = read(PAGE);
    let (python, rust) = (blocks(&page, "```python"), blocks(&page, "```rust,no_run"));
    assert_eq!(python.len(), PROGRAMS.len());
    for (i, name) in PROGRAMS.into_iter().enumerate() {
        assert_eq!(rust[i], read(&format!("crates/regimen/examples/{name}.rs")), "{name}");
        let (python, rust) = (length(python[i]), length(rust[i]));
        assert!(rust * 4 <= python * 5, "{name} has {rust} lines, in Python {python}");
    }
}
