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
fn the_programs_of_the_readmes_are_the_examples_of_that_name() {
    let burn = read("examples/first.rs");
    let torch = read("crates/regimen-torch/examples/first-torch.rs");
    assert_eq!(programs("README.md"), [&*burn, &*torch]);
    assert_eq!(programs("crates/regimen/README.md"), [&*burn]);
    assert_eq!(programs("crates/regimen-burn/README.md"), [&*burn]);
    assert_eq!(programs("crates/regimen-torch/README.md"), [&*torch]);
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
            if !file.is_empty() && !file.contains("://") && !folder.join(file).exists() {
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
