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
fn the_program_of_the_readme_is_the_example_of_that_name() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let program = fs::read_to_string(root().join("examples/readme.rs")).unwrap();
    let shown = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(shown, Some(&*program));
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
