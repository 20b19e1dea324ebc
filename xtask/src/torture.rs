//! `cargo xtask torture [--kills N] [--cuts N] [--flips N] [--signals N]`: what the `torture` program
//! does to real training processes; with `--fuzz SECONDS` what
//! it does to the readers of files, and with `--random CASES` to runs in memory.

use std::process::{Command, ExitCode, Stdio};

use crate::ci::End;
use crate::workspace::{Workspace, run};
use crate::{BoxError, tools};

/// What `ci` runs of it; the rest is run whole. The fuzz is a step of its own.
const SHORT: &[&str] =
    &["--kills", "20", "--cuts", "5", "--flips", "500", "--signals", "20", "--random", "2000", "--fuzz", "0"];

/// How long `ci` fuzzes, in seconds.
const SHORT_FUZZ: &[&str] = &["--fuzz", "10"];

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

/// The step of `ci` about trainings.
pub(crate) fn step(workspace: &Workspace) -> Result<End, BoxError> {
    ended(workspace, SHORT, &|line| !line.is_empty())
}

/// The step of `ci` about readers of files.
pub(crate) fn fuzz(workspace: &Workspace) -> Result<End, BoxError> {
    ended(workspace, SHORT_FUZZ, &|line| line.starts_with("fuzz ") || line.starts_with("tables "))
}

/// Runs the program, and says how it ended by the lines that are `of_result`.
fn ended(workspace: &Workspace, args: &[&str], of_result: &dyn Fn(&str) -> bool) -> Result<End, BoxError> {
    run(&mut workspace.cargo(&["build", "--workspace", "--examples", "--bin", "torture"]))?;
    let output = program(workspace, args)?.stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    Ok(match output.status.code() {
        Some(0) => End::Ran(text.lines().filter(|line| of_result(line)).collect::<Vec<_>>().join("; ")),
        Some(NOT_RUN) => {
            let not_run = text.lines().filter(|line| line.contains(" NOT RUN: "));
            End::NotRun(not_run.collect::<Vec<_>>().join("; "))
        }
        _ => End::Failed(format!("`torture` ended with {}", output.status)),
    })
}

/// The program in an empty folder, after a line for each program of the system that it lacks. What
/// cannot be run without those, it says itself.
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
