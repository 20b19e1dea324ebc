//! `cargo xtask bench batteries`: logs, a bar and monitors, all on, per step.

use super::Options;
use super::figures::Figures;
use super::programs::{Programs, measure};
use crate::workspace::Workspace;
use crate::{BoxError, peers};

pub(crate) fn batteries(
    workspace: &Workspace,
    options: &Options,
    figures: &mut Figures,
) -> Result<(), BoxError> {
    let programs = Programs::build(workspace)?;
    let folder = workspace.scratch("batteries")?;
    measure(programs.command("batteries").current_dir(&folder), figures)?;
    if options.peers {
        match peers::python(workspace) {
            Ok(python) => {
                let script = workspace.root.join("bench/peers/batteries.py");
                measure(workspace.program(python).arg(script).current_dir(&folder), figures)?;
            }
            Err(why) => figures.miss("peers", why),
        }
    }
    Ok(())
}
