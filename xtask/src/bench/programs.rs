//! The programs of `regimen-bench` and `regimen-torch-bench`: build, run and parse.

use std::process::{Command, Stdio};

use super::figures::Figures;
use crate::BoxError;
use crate::workspace::{Workspace, run, run_lines};

/// The built benchmark programs.
#[derive(Debug)]
pub(crate) struct Programs<'w>(&'w Workspace);

impl<'w> Programs<'w> {
    /// Builds all programs with the release profile of a user.
    pub(crate) fn build(workspace: &'w Workspace) -> Result<Self, BoxError> {
        Self::of("regimen-bench", workspace)
    }

    /// Builds the programs on libtorch, in [their workspace](Workspace::torch) `torch`. All
    /// programs share one folder, so their names must be distinct.
    pub(crate) fn build_torch(torch: &'w Workspace) -> Result<Self, BoxError> {
        Self::of("regimen-torch-bench", torch)
    }

    fn of(package: &str, workspace: &'w Workspace) -> Result<Self, BoxError> {
        run(&mut workspace.cargo(&["build", "--release", "--package", package]))?;
        Ok(Programs(workspace))
    }

    /// The command of the program `name`.
    pub(crate) fn command(&self, name: &str) -> Command {
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        self.0.program(self.0.target.join("release").join(file))
    }
}

/// Runs a program that prints figures, and records them.
pub(crate) fn measure(command: &mut Command, figures: &mut Figures) -> Result<(), BoxError> {
    run_lines(command.stdout(Stdio::piped()), |line| figures.read(line))
}
