//! `cargo xtask bench object-store`: saves to a server of S3 on this machine, compared with puts by hand.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use super::Options;
use super::figures::Figures;
use super::programs::measure;
use crate::BoxError;
use crate::s3::S3;
use crate::workspace::{Workspace, run};

pub(crate) fn object_store(
    workspace: &Workspace,
    _: &Options,
    figures: &mut Figures,
) -> Result<(), BoxError> {
    let bench = ["bench", "--package", "regimen-object-store", "--bench", "remote-save"];
    run(&mut workspace.cargo(&[&bench[..], &["--no-run"]].concat()))?;
    // In memory where that is a folder: a disk would be slower than the server.
    let memory = Path::new("/dev/shm").join(format!("regimen-bench-{}", std::process::id()));
    let folder = match fs::create_dir(&memory) {
        Ok(()) => memory,
        Err(_) => workspace.scratch("object-store")?,
    };
    let measured = S3::start_fast(workspace, &folder).and_then(|server| {
        measure(workspace.cargo(&bench).envs(server.variables()).stdout(Stdio::piped()), figures)
    });
    fs::remove_dir_all(&folder)?;
    measured
}
