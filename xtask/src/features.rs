//! The steps about the features of `regimen`: all features, none, and each alone. Other crates have features too: those of
//! engines are devices, and the one of `regimen-dist` is among all features.

use crate::BoxError;
use crate::ci::End;
use crate::steps::count_tests;
use crate::workspace::{Workspace, run};

/// Checks of `regimen` with all features, and of `regimen-dist` with NCCL, which is only loaded to run.
pub(crate) fn all(workspace: &Workspace) -> Result<End, BoxError> {
    let nccl = check(workspace, "regimen-dist", &["--all-features"], &["--lib", "--tests"])?;
    match (check(workspace, "regimen", &["--all-features"], &[])?, nccl) {
        (End::Ran(own), End::Ran(nccl)) => Ok(End::Ran(format!("{own}; regimen-dist {nccl}"))),
        (End::Ran(_), other) | (other, _) => Ok(other),
    }
}

/// Checks of `regimen` without any feature.
pub(crate) fn none(workspace: &Workspace) -> Result<End, BoxError> {
    check(workspace, "regimen", &["--no-default-features"], &[])
}

/// Checks of `regimen` with each feature alone. Of its tests those in the library: the others are run with all features
/// and with none, and take minutes to link for each.
pub(crate) fn each(workspace: &Workspace) -> Result<End, BoxError> {
    let mut ran = Vec::new();
    for feature in of_package(workspace, "regimen")? {
        let select = ["--no-default-features", "--features", &feature];
        match check(workspace, "regimen", &select, &["--lib"])? {
            End::Ran(text) => ran.push(format!("{feature} {text}")),
            other => return Ok(other),
        }
    }
    Ok(End::Ran(ran.join(", ")))
}

/// Lints, documents and tests a package with the selected features.
fn check(workspace: &Workspace, package: &str, features: &[&str], tests: &[&str]) -> Result<End, BoxError> {
    let cargo = |args: &[&str], rest: &[&str]| {
        workspace.cargo(&[args, &["--package", package], features, rest].concat())
    };
    run(&mut cargo(&["clippy", "--all-targets"], &["--", "--deny", "warnings"]))?;
    run(cargo(&["doc", "--no-deps", "--lib"], &[]).env("RUSTDOCFLAGS", "--deny warnings"))?;
    // The resume matrix is half of the time, has no part that a feature adds, and runs among the tests.
    count_tests(&mut cargo(
        &["test", "--no-fail-fast"],
        &[tests, &["--", "--skip", "resume_matrix"]].concat(),
    ))
}

/// The features of a package, except the default one.
fn of_package(workspace: &Workspace, package: &str) -> Result<Vec<String>, BoxError> {
    let metadata = workspace.metadata()?;
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages.find(|found| found["name"] == package).ok_or("unknown package")?;
    let features = package["features"].as_object().into_iter().flatten();
    Ok(features.map(|(name, _)| name.clone()).filter(|name| name != "default").collect())
}
