//! What the papers must name.

use std::fs;

use crate::project::{Source, files, root};

/// The part of ARCHITECTURE.md that is about a folder of sources, by its heading.
const CODE_MAP: &[(&str, &str)] = &[
    ("bench", "bench/"),
    ("crates/regimen-core", "crates/regimen-core/src/"),
    ("crates/regimen", "crates/regimen/src/"),
    ("crates/regimen-derive", "crates/regimen-derive/src/"),
    ("crates/regimen-test", "crates/regimen-test/src/"),
    ("crates/regimen-burn", "crates/regimen-burn/src/"),
    ("crates/regimen-torch", "crates/regimen-torch/"),
    ("crates/regimen-cli", "crates/regimen-cli/src/"),
    ("examples", "examples/"),
    ("torture", "torture/"),
    ("xtask", "xtask/"),
];

/// How the names of sources end.
const SOURCES: &[&str] = &[".rs", ".cpp", ".h"];

#[test]
fn the_code_map_names_every_source_file() {
    let missing: Vec<_> =
        mapped().into_iter().filter(|(section, file, _)| !section.contains(&quoted(file))).collect();
    let paths: Vec<_> = missing.iter().map(|(_, _, path)| path.as_str()).collect();
    assert!(paths.is_empty(), "ARCHITECTURE.md does not name:\n{}", paths.join("\n"));
}

#[test]
fn the_code_map_names_no_file_that_is_gone() {
    for (heading, folder) in CODE_MAP {
        let section = section(heading);
        let named = section.split('`').skip(1).step_by(2);
        let named = named.filter(|name| SOURCES.iter().any(|ending| name.ends_with(ending)));
        for name in named {
            assert!(
                root().join(folder).join(name).exists(),
                "ARCHITECTURE.md names `{name}` under `{heading}`"
            );
        }
    }
}

#[test]
fn every_crate_has_a_place_in_the_code_map() {
    for source in source_files() {
        let known = CODE_MAP.iter().any(|(heading, _)| source.path.starts_with(&format!("{heading}/")));
        assert!(known, "{} belongs to no part of the code map: see {}", source.path, file!());
    }
}

#[test]
fn the_program_of_the_readme_is_the_example_of_that_name() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let program = fs::read_to_string(root().join("examples/readme.rs")).unwrap();
    let shown = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(shown, Some(&*program));
}

/// Every source file of the map: the section that must name it, its name there, its path.
fn mapped() -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for source in source_files() {
        for (heading, folder) in CODE_MAP {
            if let Some(file) = source.path.strip_prefix(folder) {
                all.push((section(heading), file.to_owned(), source.path.clone()));
            }
        }
    }
    all
}

fn source_files() -> Vec<Source> {
    ["bench", "crates", "examples", "torture", "xtask"]
        .iter()
        .flat_map(|folder| files(folder, SOURCES))
        .collect()
}

fn quoted(file: &str) -> String {
    format!("`{file}`")
}

/// The text under the heading of `folder`, up to the next heading.
fn section(folder: &str) -> String {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let heading = format!("### `{folder}`");
    let after = text.lines().skip_while(|line| *line != heading).skip(1);
    after.take_while(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}
