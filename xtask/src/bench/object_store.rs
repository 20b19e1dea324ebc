//! `cargo xtask bench object-store`: saves to a server of S3 on this machine, compared with puts by hand.

use std::process::Stdio;

use super::Options;
use super::figures::Figures;
use super::programs::measure;
use crate::s3::S3;
use crate::workspace::{Workspace, run};
use crate::{BoxError, peers};

pub(crate) fn object_store(
    workspace: &Workspace,
    _: &Options,
    figures: &mut Figures,
) -> Result<(), BoxError> {
    let bench = ["bench", "--package", "regimen-object-store", "--bench", "remote-save"];
    run(&mut workspace.cargo(&[&bench[..], &["--no-run"]].concat()))?;
    let python = match peers::s3(workspace) {
        Ok(python) => python,
        Err(why) => return Ok(figures.miss("object-store", why)),
    };
    let server = S3::start(workspace, &python)?;
    measure(workspace.cargo(&bench).envs(server.variables()).stdout(Stdio::piped()), figures)
}
