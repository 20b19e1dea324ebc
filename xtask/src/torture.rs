//! `cargo xtask torture [--kills N] [--cuts N] [--flips N] [--signals N]`: runs the `torture`
//! program on real training processes. `--fuzz SECONDS` fuzzes the readers of files, `--random CASES`
//! disturbs runs in memory, `--ranks N --kills N [--ulfm]` kills ranks of jobs of Open MPI.

use std::process::{Command, ExitCode, Stdio};

use crate::ci::End;
use crate::workspace::{Workspace, run};
use crate::{BoxError, peers, tools};

/// The short torture of `ci`. The fuzz is a separate step.
const SHORT: &[&str] =
    &["--kills", "20", "--cuts", "5", "--flips", "500", "--signals", "20", "--random", "2000", "--fuzz", "0"];

/// The short fuzz of `ci`, in seconds.
const SHORT_FUZZ: &[&str] = &["--fuzz", "10"];

/// Exit status of the program if something could not be run.
const NOT_RUN: i32 = 2;

/// Runs the torture program with `args`, and returns its exit status: 1 if a promise is broken, 2
/// if something could not be run.
pub(crate) fn torture(args: &[&str]) -> Result<ExitCode, BoxError> {
    let workspace = Workspace::open()?;
    run(&mut workspace.cargo(&["build", "--workspace", "--bin", "torture"]))?;
    let mut program = program(&workspace, args)?;
    if args.first() == Some(&"--ranks") {
        match peers::mpis(&workspace) {
            Ok([open_mpi, _]) => with_mpi(&mut program, &open_mpi),
            Err(why) => println!("{why}"),
        }
    }
    let status = program.status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Has `program` start ranks by `mpi`.
fn with_mpi(program: &mut Command, mpi: &peers::Mpi) {
    program.env("REGIMEN_TEST_MPIRUN", &mpi.launcher).env("REGIMEN_MPI", &mpi.library);
}

/// The part of the step `mpi` of `ci` about ranks that are killed: going on in place, and by a restart loop.
pub(crate) fn ranks(workspace: &Workspace, open_mpi: &peers::Mpi) -> Result<String, BoxError> {
    run(&mut workspace.cargo(&["build", "--workspace", "--examples", "--bin", "torture"]))?;
    let mut last = Vec::new();
    for args in [&["--ranks", "4", "--kills", "6", "--ulfm"][..], &["--ranks", "4", "--kills", "2"]] {
        let mut program = program(workspace, args)?;
        with_mpi(&mut program, open_mpi);
        let output = program.stderr(Stdio::inherit()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        print!("{text}");
        if !output.status.success() {
            return Err(format!("`torture {}` ended with {}", args.join(" "), output.status).into());
        }
        last.extend(text.lines().last().map(str::to_owned));
    }
    Ok(last.join("; "))
}

/// The step of `ci` for training processes.
pub(crate) fn step(workspace: &Workspace) -> Result<End, BoxError> {
    ended(workspace, SHORT, &|line| !line.is_empty())
}

/// The step of `ci` for readers of files.
pub(crate) fn fuzz(workspace: &Workspace) -> Result<End, BoxError> {
    ended(workspace, SHORT_FUZZ, &|line| line.starts_with("fuzz ") || line.starts_with("tables "))
}

/// Runs the program, and summarizes it by the lines that satisfy `of_result`.
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

/// The program's command, in an empty folder, after a line per missing system program. The program
/// reports the tests that it cannot run.
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
