//! Dependencies between the crates of the project: arrows point towards the core.

use std::process::Command;

use serde_json::Value;

use crate::project::root;

/// The project's crates that each crate may depend on. Programs ([`PROGRAMS`]) may depend on any.
const ARROWS: &[(&str, &[&str])] = &[
    ("regimen-core", &[]),
    ("regimen-cuda", &[]),
    ("regimen-derive", &[]),
    ("regimen", &["regimen-core", "regimen-derive"]),
    ("regimen-test", &["regimen", "regimen-core"]),
    ("regimen-burn", &["regimen-core"]),
    ("regimen-torch", &["regimen-core", "regimen-cuda"]),
    ("regimen-dist", &["regimen-core", "regimen-cuda"]),
    ("regimen-dashboard", &["regimen"]),
    ("regimen-object-store", &["regimen"]),
    ("regimen-report", &["regimen", "regimen-core"]),
    (
        "regimen-cli",
        &["regimen", "regimen-core", "regimen-dashboard", "regimen-object-store", "regimen-report"],
    ),
    ("xtask", &[]),
];

const PROGRAMS: &[&str] =
    &["regimen-bench", "regimen-bench-learner", "regimen-examples", "regimen-torch-bench", "regimen-torture"];

/// Additional dependencies of tests and of examples inside a crate.
const FOR_TESTS: &[(&str, &[&str])] = &[
    ("regimen-core", &["regimen-test"]),
    ("regimen", &["regimen-test"]),
    ("regimen-burn", &["regimen", "regimen-test"]),
    ("regimen-torch", &["regimen", "regimen-dist", "regimen-examples", "regimen-test"]),
    ("regimen-dist", &["regimen", "regimen-test"]),
    ("regimen-cli", &["regimen-test"]),
];

#[test]
fn arrows_point_towards_the_core() {
    for (package, needs, kind) in dependencies() {
        if PROGRAMS.contains(&package.as_str()) || !is_ours(&needs) {
            continue;
        }
        let listed = |list: &[(&str, &[&str])]| {
            list.iter().any(|(name, allowed)| *name == package && allowed.contains(&needs.as_str()))
        };
        let allowed = listed(ARROWS) || kind == Kind::Test && listed(FOR_TESTS);
        assert!(allowed, "{package} must not depend on {needs} ({kind:?}): see {}", file!());
    }
}

#[test]
fn the_core_depends_on_nothing() {
    let needs = dependencies()
        .into_iter()
        .filter(|(package, _, kind)| package == "regimen-core" && *kind == Kind::Use);
    assert_eq!(needs.map(|(_, needs, _)| needs).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn every_crate_has_its_arrows_listed() {
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let known = PROGRAMS.contains(&name) || ARROWS.iter().any(|(known, _)| *known == name);
        assert!(known, "{name} has no line in {}", file!());
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A normal or build dependency.
    Use,
    Test,
}

/// All dependencies: package, dependency and kind.
fn dependencies() -> Vec<(String, String, Kind)> {
    let mut all = Vec::new();
    for package in packages() {
        for dependency in package["dependencies"].as_array().unwrap() {
            let kind = if dependency["kind"] == "dev" { Kind::Test } else { Kind::Use };
            let [package, needs] =
                [&package["name"], &dependency["name"]].map(|name| name.as_str().unwrap().to_owned());
            all.push((package, needs, kind));
        }
    }
    assert_ne!(all.len(), 0, "no dependency was found: every rule would hold");
    all
}

fn is_ours(package: &str) -> bool {
    package == "regimen" || package == "xtask" || package.starts_with("regimen-")
}

/// The packages of all workspaces.
fn packages() -> Vec<Value> {
    let mut all = Vec::new();
    for workspace in ["", "bench/learner", "crates/regimen-torch"] {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root().join(workspace));
        let metadata: Value = serde_json::from_slice(&cargo.output().unwrap().stdout).unwrap();
        all.extend(metadata["packages"].as_array().unwrap().iter().cloned());
    }
    all
}
