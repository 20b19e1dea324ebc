//! `cargo xtask pictures`: draws the pictures of the README and of the guide, from runs of examples, and those of the
//! report page, from runs that a script makes up.

use crate::BoxError;
use crate::ci::End;
use crate::steps::open_report_page;
use crate::workspace::{Workspace, run};

pub(crate) fn pictures() -> Result<(), BoxError> {
    let workspace = Workspace::open()?;
    run(&mut workspace.cargo(&["build", "--workspace", "--examples"]))?;
    run(&mut workspace.cargo(&["build", "--workspace", "--bins"]))?;
    let built = workspace.target.join("debug");
    let mut draw = workspace.program(built.join("pictures"));
    let folder = workspace.root.join("docs/pictures");
    draw.arg(built.join("examples/digits")).arg(&folder);
    run(draw.current_dir(workspace.scratch("pictures")?))?;
    let mut draw = workspace.program(built.join("examples/dashboard-pictures"));
    run(draw.arg(&folder).current_dir(workspace.scratch("dashboard-pictures")?))?;
    match open_report_page(&workspace, Some(&folder))? {
        End::Ran(_) => Ok(()),
        End::NotRun(why) | End::Failed(why) => Err(format!("the report page was not drawn: {why}").into()),
    }
}
