//! `cargo xtask bench checkpoint`: time of saving and restoring, compared with `torch.save`.

use std::process::Command;

use super::Options;
use super::figures::Figures;
use super::programs::{Programs, measure};
use crate::workspace::Workspace;
use crate::{BoxError, peers};

pub(crate) fn checkpoint(
    workspace: &Workspace,
    options: &Options,
    figures: &mut Figures,
) -> Result<(), BoxError> {
    let programs = Programs::build(workspace)?;
    let folder = workspace.scratch("checkpoint")?;
    // Flushes the build outputs, so that they are not written while saves are timed. `sync` is optional.
    let _ = Command::new("sync").status();
    measure(programs.command("checkpoint").arg(&folder), figures)?;
    if options.peers {
        match peers::python(workspace) {
            Ok(python) => {
                measure(workspace.program(python).arg("bench/peers/checkpoint.py").arg(&folder), figures)?;
            }
            Err(why) => figures.miss("peers", why),
        }
    }
    Ok(())
}
