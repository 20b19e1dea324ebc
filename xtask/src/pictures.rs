//! `cargo xtask pictures`: draws the pictures of the README and of the guide, from runs of examples.

use crate::BoxError;
use crate::workspace::{Workspace, run};

pub(crate) fn pictures() -> Result<(), BoxError> {
    let workspace = Workspace::open()?;
    run(&mut workspace.cargo(&["build", "--workspace", "--examples"]))?;
    run(&mut workspace.cargo(&["build", "--workspace", "--bins"]))?;
    let built = workspace.target.join("debug");
    let mut draw = workspace.program(built.join("pictures"));
    draw.arg(built.join("examples/digits")).arg(workspace.root.join("docs/pictures"));
    run(draw.current_dir(workspace.scratch("pictures")?))?;
    let mut draw = workspace.program(built.join("examples/dashboard-pictures"));
    draw.arg(workspace.root.join("docs/pictures"));
    run(draw.current_dir(workspace.scratch("dashboard-pictures")?))
}
