//! Contents of the documents.

use std::collections::BTreeSet;
use std::fs;

use crate::project::{files, root};

/// Size limit of ARCHITECTURE.md, in bytes.
const MOST_BYTES: usize = 9_000;

/// File extensions of sources.
const SOURCES: &[&str] = &[".rs", ".cpp", ".h"];

#[test]
fn the_architecture_is_a_page_that_is_read_at_once() {
    assert!(architecture().len() < MOST_BYTES, "ARCHITECTURE.md has {} bytes", architecture().len());
}

#[test]
fn the_map_names_every_folder_of_sources() {
    let map = architecture();
    let map = map.split_once("\n## Map\n").unwrap().1;
    let named: BTreeSet<&str> = map.split('`').skip(1).step_by(2).collect();
    let missing: Vec<String> = folders().into_iter().filter(|folder| !is_named(folder, &named)).collect();
    assert!(missing.is_empty(), "the map of ARCHITECTURE.md does not name:\n{}", missing.join("\n"));
}

#[test]
fn the_map_names_no_folder_that_is_gone() {
    let map = architecture();
    let map = map.split_once("\n## Map\n").unwrap().1;
    let paths = map.split('`').skip(1).step_by(2).filter(|name| name.contains('/'));
    let gone: Vec<_> = paths.filter(|path| !root().join(path).exists()).collect();
    assert!(gone.is_empty(), "the map of ARCHITECTURE.md names {gone:?}");
}

#[test]
fn the_programs_of_the_readmes_and_of_the_page_on_finders_are_the_examples_of_that_name() {
    let burn = read("examples/first.rs");
    let torch = read("crates/regimen-torch/examples/first-torch.rs");
    assert_eq!(programs("README.md"), [&*burn, &*torch]);
    assert_eq!(programs("crates/regimen/README.md"), [&*burn]);
    assert_eq!(programs("crates/regimen-burn/README.md"), [&*burn]);
    assert_eq!(programs("crates/regimen-torch/README.md"), [&*torch]);
    assert_eq!(programs("crates/regimen/guide/finders.md"), [read("examples/finders.rs")]);
    assert!(burn.lines().count() <= 35, "the first program has more than 35 lines");
}

#[test]
fn no_block_of_the_documentation_is_passed_over() {
    // Put together here, so that this file does not hold them.
    let marks = ["rust,", "", "no_run,"].map(|before| format!("```{before}{}", "ignore"));
    for source in files("", &[".rs", ".md"]) {
        for mark in &marks {
            assert!(!source.text.contains(mark), "{} has a block that is not compiled", source.path);
        }
    }
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    let mut dead = Vec::new();
    for source in files("", &[".md"]) {
        let inline = source.text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        let defined = source.text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
        let folder = root().join(&source.path).parent().unwrap().to_owned();
        for target in inline.chain(defined.map(|(_, target)| target)) {
            let file = target.split('#').next().unwrap();
            // A path of Rust is a link in the documentation alone.
            let is_file = !file.contains("://") && !file.contains("::");
            if is_file && !folder.join(file).exists() {
                dead.push(format!("{}: {target}", source.path));
            }
        }
    }
    assert!(dead.is_empty(), "these links lead nowhere:\n{}", dead.join("\n"));
}

/// The blocks of Rust in a file of the root.
fn programs(path: &str) -> Vec<String> {
    let text = read(path);
    let blocks = text.split("```rust").skip(1).filter_map(|rest| rest.split_once('\n'));
    blocks.map(|(_, rest)| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn architecture() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

/// The folders with sources other than tests.
fn folders() -> BTreeSet<String> {
    let sources =
        ["bench", "crates", "examples", "torture", "xtask"].iter().flat_map(|folder| files(folder, SOURCES));
    let folders = sources.filter_map(|source| Some(source.path.rsplit_once('/')?.0.to_owned()));
    let folders: BTreeSet<_> = folders.filter(|folder| !folder.contains("/tests")).collect();
    assert_ne!(folders.len(), 0, "no folder was found: the rule would hold");
    folders
}

/// Returns `true` if the map names `folder` by its path or its last name, or if it holds only
/// programs, which are named after their folders.
fn is_named(folder: &str, named: &BTreeSet<&str>) -> bool {
    let own = folder.rsplit('/').next().unwrap_or(folder);
    let is_program = folder.contains("/src/bin") || folder.contains("examples/");
    named.contains(folder)
        || named.contains(own)
        || is_program
        || own == "src" && named.contains(&folder[..folder.len() - 4])
}
