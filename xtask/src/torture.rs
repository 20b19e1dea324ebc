//! `cargo xtask torture [--kills N] [--cuts N] [--flips N] [--signals N] [--random CASES]`: what the `torture` program
//! does to real training processes, with what that needs installed first.

use std::process::{Command, ExitCode, Stdio};

use crate::ci::End;
use crate::workspace::{Workspace, run};
use crate::{BoxError, tools};

/// What `ci` runs of it; the rest is run whole.
const SHORT: [&str; 10] =
    ["--kills", "20", "--cuts", "5", "--flips", "500", "--signals", "20", "--random", "2000"];

/// The exit status of the program where something could not be run.
const NOT_RUN: i32 = 2;

/// Tortures as `args` say. The exit status is the program's: 1 where a promise is broken, 2 where
/// something could not be run.
pub(crate) fn torture(args: &[&str]) -> Result<ExitCode, BoxError> {
    let workspace = Workspace::open()?;
    run(&mut workspace.cargo(&["build", "--package", "regimen-torture"]))?;
    let status = program(&workspace, args)?.status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The step of `ci`.
pub(crate) fn step(workspace: &Workspace) -> Result<End, BoxError> {
    run(&mut workspace.cargo(&["build", "--workspace", "--examples", "--bin", "torture"]))?;
    let output = program(workspace, &SHORT)?.stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    Ok(match output.status.code() {
        Some(0) => End::Ran(text.lines().collect::<Vec<_>>().join("; ")),
        Some(NOT_RUN) => {
            let not_run = text.lines().filter(|line| line.contains(" NOT RUN: "));
            End::NotRun(not_run.collect::<Vec<_>>().join("; "))
        }
        _ => End::Failed(format!("`torture` ended with {}", output.status)),
    })
}

/// The program in an empty folder. What it needs is installed where that is possible; what is
/// missing then, it says itself.
fn program(workspace: &Workspace, args: &[&str]) -> Result<Command, BoxError> {
    for (name, version, package) in [("strace", "--version", "strace"), ("mkfs.ext4", "-V", "e2fsprogs")] {
        if let Err(why) = tools::have(name, version, package) {
            println!("{why}");
        }
    }
    let program = workspace.target.join("debug").join(format!("torture{}", std::env::consts::EXE_SUFFIX));
    let mut command = workspace.program(program);
    command.args(args).current_dir(workspace.scratch("torture")?);
    Ok(command)
}
