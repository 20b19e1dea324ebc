//! The steps about the features of `regimen` and `regimen-object-store`: all features, none, and each alone. Other crates have
//! features too: those of engines are devices, the one of `regimen-dist` is among all features, and those of `regimen-cli`
//! are those of `regimen-object-store`.

use crate::BoxError;
use crate::ci::End;
use crate::steps::count_tests;
use crate::workspace::{Workspace, run};

/// Checks that the steps about the workspace check `regimen` with all features, and checks `regimen-dist` with NCCL, which
/// is only loaded to run.
pub(crate) fn all(workspace: &Workspace) -> Result<End, BoxError> {
    let on = resolved(workspace, "regimen")?;
    let off: Vec<_> =
        of_package(workspace, "regimen")?.into_iter().filter(|name| !on.contains(name)).collect();
    if !off.is_empty() {
        return Err(format!(
            "the workspace leaves out {} of `regimen`: see bench/Cargo.toml",
            off.join(", ")
        )
        .into());
    }
    let nccl = ["--package", "regimen-dist", "--all-features"];
    lint_and_document(workspace, &nccl)?;
    match count_tests(
        &mut workspace.cargo(&[&["test", "--no-fail-fast", "--lib", "--tests"], &nccl[..]].concat()),
    )? {
        End::Ran(tests) => Ok(End::Ran(format!("regimen: those of the workspace; regimen-dist {tests}"))),
        other => Ok(other),
    }
}

/// Checks both without any feature. Of their tests those in the libraries are run: the others take minutes to link.
pub(crate) fn none(workspace: &Workspace) -> Result<End, BoxError> {
    let select = ["--package", "regimen", "--package", "regimen-object-store", "--no-default-features"];
    lint_and_document(workspace, &select)?;
    count_tests(&mut workspace.cargo(&[&["test", "--lib"], &select[..]].concat()))
}

/// Compiles and lints both with each feature alone.
pub(crate) fn each(workspace: &Workspace) -> Result<End, BoxError> {
    let mut ran = Vec::new();
    for package in ["regimen", "regimen-object-store"] {
        let features = of_package(workspace, package)?;
        for feature in &features {
            let select = ["--package", package, "--lib", "--no-default-features", "--features", feature];
            run(&mut workspace.cargo(&[&["clippy"], &select[..], &["--", "--deny", "warnings"]].concat()))?;
        }
        ran.push(format!("{package}: {}", features.join(", ")));
    }
    Ok(End::Ran(format!("clippy with {}", ran.join("; "))))
}

fn lint_and_document(workspace: &Workspace, select: &[&str]) -> Result<(), BoxError> {
    let lint = [&["clippy", "--all-targets"], select, &["--", "--deny", "warnings"]].concat();
    run(&mut workspace.cargo(&lint))?;
    let document = [&["doc", "--no-deps", "--lib"], select].concat();
    run(workspace.cargo(&document).env("RUSTDOCFLAGS", "--deny warnings"))
}

/// The features that a package is compiled with where the whole workspace is.
fn resolved(workspace: &Workspace, package: &str) -> Result<Vec<String>, BoxError> {
    let output = workspace.cargo(&["metadata", "--format-version", "1"]).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let id = &packages.find(|found| found["name"] == package).ok_or("unknown package")?["id"];
    let mut nodes = metadata["resolve"]["nodes"].as_array().into_iter().flatten();
    let node = nodes.find(|node| node["id"] == *id).ok_or("cargo resolved no features")?;
    let features = node["features"].as_array().into_iter().flatten();
    Ok(features.filter_map(|name| Some(name.as_str()?.to_owned())).collect())
}

/// The features of a package, except the default one.
fn of_package(workspace: &Workspace, package: &str) -> Result<Vec<String>, BoxError> {
    let metadata = workspace.metadata()?;
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages.find(|found| found["name"] == package).ok_or("unknown package")?;
    let features = package["features"].as_object().into_iter().flatten();
    Ok(features.map(|(name, _)| name.clone()).filter(|name| name != "default").collect())
}
