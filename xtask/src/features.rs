//! The steps about the features of `regimen`: all features, none, and each alone.

use crate::BoxError;
use crate::ci::End;
use crate::steps::count_tests;
use crate::workspace::{Workspace, run};

/// The tests and doctests of `regimen` with all features.
pub(crate) fn all(workspace: &Workspace) -> Result<End, BoxError> {
    count_tests(&mut workspace.cargo(&["test", "--package", "regimen", "--all-features", "--no-fail-fast"]))
}

/// The tests without any feature; tests that need one are left out.
pub(crate) fn none(workspace: &Workspace) -> Result<End, BoxError> {
    let mut cargo =
        workspace.cargo(&["test", "--package", "regimen", "--no-default-features", "--no-fail-fast"]);
    count_tests(&mut cargo)
}

/// Lints each feature of `regimen` alone, and none; runs the tests with each.
pub(crate) fn each(workspace: &Workspace) -> Result<End, BoxError> {
    let features = of_package(workspace, "regimen")?;
    for feature in features.iter().map(String::as_str).chain([""]) {
        let select = ["clippy", "--package", "regimen", "--all-targets", "--no-default-features"];
        let with = ["--features", feature, "--", "--deny", "warnings"];
        run(&mut workspace.cargo(&[&select[..], &with].concat()))?;
    }
    let mut ran = Vec::new();
    for feature in &features {
        let select = ["test", "--package", "regimen", "--no-default-features", "--features", feature];
        let tests = ["--lib", "--tests", "--no-fail-fast"];
        match count_tests(&mut workspace.cargo(&[&select[..], &tests].concat()))? {
            End::Ran(text) => ran.push(format!("{feature} {text}")),
            other => return Ok(other),
        }
    }
    Ok(End::Ran(ran.join(", ")))
}

/// The features of a package, except the default one.
fn of_package(workspace: &Workspace, package: &str) -> Result<Vec<String>, BoxError> {
    let metadata = workspace.metadata()?;
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages.find(|found| found["name"] == package).ok_or("unknown package")?;
    let features = package["features"].as_object().into_iter().flatten();
    Ok(features.map(|(name, _)| name.clone()).filter(|name| name != "default").collect())
}
