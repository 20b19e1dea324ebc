//! The pages for users of Runner and FitLoop: their rows, the names and tests in them, and their programs.

use std::collections::BTreeSet;

use crate::pages::{blocks, codes, length, read, rows};
use crate::project::files;

struct Page {
    path: &'static str,
    /// The letter of its rows, and their number.
    rows: (char, usize),
    /// Its programs, each with the largest number of lines in its `main`.
    programs: [(&'static str, usize); 2],
}

const PAGES: [Page; 2] = [
    Page {
        path: "docs/coming-from-runner.md",
        rows: ('R', 67),
        programs: [("runner_minimal", 12), ("runner_real", usize::MAX)],
    },
    Page {
        path: "docs/coming-from-fitloop.md",
        rows: ('F', 56),
        programs: [("fitloop_basic", 20), ("fitloop_full", usize::MAX)],
    },
];

#[test]
fn every_part_has_one_row_of_four_cells() {
    for Page { path, rows: (letter, count), .. } in PAGES {
        let page = read(path);
        let numbers: Vec<&str> = rows(&page).map(|row| row[0]).collect();
        assert_eq!(numbers, (1..=count).map(|n| format!("{letter}{n}")).collect::<Vec<_>>(), "{path}");
        let torn: Vec<_> = rows(&page).filter(|row| row.len() != 4 || row.contains(&"")).collect();
        assert!(torn.is_empty(), "{path}: rows without four full cells: {torn:?}");
    }
}

#[test]
fn every_row_is_promised_kept_fixed_or_dropped() {
    for Page { path, .. } in PAGES {
        let page = read(path);
        let kinds = ["As promised", "Kept: ", "Fixed: ", "Dropped: "];
        let others: Vec<_> =
            rows(&page).filter(|row| !kinds.iter().any(|kind| row[3].starts_with(kind))).collect();
        assert!(others.is_empty(), "{path}: {others:?}");
    }
}

// Links are checked by rustdoc.
#[test]
fn every_name_beside_a_part_is_a_link() {
    for Page { path, .. } in PAGES {
        let page = read(path);
        for name in rows(&page).flat_map(|row| row[2].split(", ").collect::<Vec<_>>()) {
            let is_link = name.starts_with("[`") && name.ends_with(']');
            assert!(is_link || name == "no equivalent", "{path}: {name}");
        }
    }
}

#[test]
fn every_fixed_bug_names_tests_that_exist() {
    let sources = files("crates", &[".rs"]);
    let code = sources.iter().flat_map(|source| source.text.lines());
    let functions = code.filter_map(|line| Some(line.trim_start().strip_prefix("fn ")?.split_once("()")?.0));
    let functions: BTreeSet<&str> = functions.collect();
    for Page { path, .. } in PAGES {
        let page = read(path);
        for row in rows(&page).filter(|row| row[3].starts_with("Fixed: ")) {
            // The name of a test is a sentence.
            let tests: Vec<&str> = codes(row[3]).filter(|code| code.matches('_').count() > 3).collect();
            assert!(!tests.is_empty(), "{path}: {} names no test", row[0]);
            let unknown: Vec<_> = tests.iter().filter(|test| !functions.contains(**test)).collect();
            assert!(unknown.is_empty(), "{path}: {} names {unknown:?}", row[0]);
        }
    }
}

#[test]
fn the_programs_of_the_pages_are_the_examples_and_as_short_as_promised() {
    for Page { path, programs, .. } in PAGES {
        let page = read(path);
        let (python, rust) = (blocks(&page, "```python"), blocks(&page, "```rust,no_run"));
        assert_eq!((python.len(), rust.len()), (programs.len(), programs.len()), "{path}");
        for (i, (name, most)) in programs.into_iter().enumerate() {
            let (burn, torch) = (format!("examples/{name}.rs"), name.replace('_', "-"));
            let torch = format!("crates/regimen-torch/examples/{torch}-torch.rs");
            assert_eq!(rust[i], read(&burn), "{name}");
            for program in [burn, torch] {
                let lines = length_of_main(&read(&program));
                assert!(lines <= most, "`main` of {program} has {lines} lines, more than {most}");
            }
        }
    }
}

/// The lines of `main`, with its head and its closing brace, without comments and blank lines.
fn length_of_main(program: &str) -> usize {
    let (_, main) = program.split_once("\nfn main()").unwrap();
    let (main, _) = main.split_once("\n}\n").unwrap();
    length(main) + 1
}
