//! `cargo xtask bench loader`: throughput of the loader and of PyTorch's, in samples per second.

use super::Options;
use super::figures::Figures;
use super::programs::{Programs, measure};
use crate::workspace::{Workspace, run};
use crate::{BoxError, peers};

pub(crate) fn loader(
    workspace: &Workspace,
    options: &Options,
    figures: &mut Figures,
) -> Result<(), BoxError> {
    let programs = Programs::build(workspace)?;
    let folder = match &options.data {
        Some(folder) => folder.clone(),
        None => {
            let folder = workspace.target.join("bench-digits");
            std::fs::create_dir_all(&folder)?;
            run(programs.command("loader").arg("generate").arg(&folder))?;
            folder
        }
    };
    measure(programs.command("loader").arg(&folder), figures)?;
    if options.peers {
        match peers::python(workspace) {
            Ok(python) => {
                measure(workspace.program(python).arg("bench/peers/loader.py").arg(&folder), figures)?;
            }
            Err(why) => figures.miss("peers", why),
        }
    }
    Ok(())
}
