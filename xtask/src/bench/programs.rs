//! The programs of `regimen-bench` and `regimen-torch-bench`: built as people build, run, and read.

use std::process::{Command, Stdio};

use super::figures::Figures;
use crate::BoxError;
use crate::workspace::{Workspace, run, run_lines};

/// The measuring programs, built.
#[derive(Debug)]
pub(crate) struct Programs<'w>(&'w Workspace);

impl<'w> Programs<'w> {
    /// Builds them all with the settings that a user's release build has.
    pub(crate) fn build(workspace: &'w Workspace) -> Result<Self, BoxError> {
        Self::of("regimen-bench", workspace)
    }

    /// The same for those on libtorch, where `torch` is [their workspace](Workspace::torch). All
    /// programs are built to one folder: none may have the name of one of the others.
    pub(crate) fn build_torch(torch: &'w Workspace) -> Result<Self, BoxError> {
        Self::of("regimen-torch-bench", torch)
    }

    fn of(package: &str, workspace: &'w Workspace) -> Result<Self, BoxError> {
        run(&mut workspace.cargo(&["build", "--release", "--package", package]))?;
        Ok(Programs(workspace))
    }

    /// The program called `name`.
    pub(crate) fn command(&self, name: &str) -> Command {
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        self.0.program(self.0.target.join("release").join(file))
    }
}

/// Runs a program that prints figures, and takes them.
pub(crate) fn measure(command: &mut Command, figures: &mut Figures) -> Result<(), BoxError> {
    run_lines(command.stdout(Stdio::piped()), |line| figures.read(line))
}
