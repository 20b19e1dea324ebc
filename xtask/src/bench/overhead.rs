//! `cargo xtask bench overhead`: what the loop and `AutoUnit` add to a step.
//!
//! The programs that are measured are those of the `bench` package; what they measure is said
//! there.

use std::process::{Command, Stdio};

use super::Options;
use super::callgrind::instructions_per_step;
use super::figures::{Figure, Figures};
use crate::workspace::{Workspace, run, run_lines};
use crate::{BoxError, peers, tools};

pub(crate) fn overhead(
    workspace: &Workspace,
    options: &Options,
    figures: &mut Figures,
) -> Result<(), BoxError> {
    run(&mut workspace.cargo(&["build", "--release", "--package", "regimen-bench"]))?;
    let program = |name: &str| {
        workspace
            .program(workspace.target.join("release").join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
    };
    measure(&mut program("empty_step"), figures)?;
    measure(program("autounit").arg("time"), figures)?;
    match tools::valgrind() {
        Ok(()) => instruction_ratios(|| program("autounit"), figures)?,
        Err(why) => figures.miss("instruction counts", why),
    }
    if options.peers {
        match peers::python(workspace) {
            Ok(python) => measure(workspace.program(python).arg("bench/peers/overhead.py"), figures)?,
            Err(why) => figures.miss("peers", why),
        }
    }
    Ok(())
}

/// Runs a program that prints figures.
fn measure(command: &mut Command, figures: &mut Figures) -> Result<(), BoxError> {
    run_lines(command.stdout(Stdio::piped()), |line| figures.read(line))
}

/// `AutoUnit` over the same work by hand, for every case that the program lists.
fn instruction_ratios(program: impl Fn() -> Command, figures: &mut Figures) -> Result<(), BoxError> {
    let output = program().arg("list").output()?;
    for case in String::from_utf8(output.stdout)?.lines() {
        println!("counting the instructions of {case}");
        let count = |who: &str| {
            instructions_per_step([4, 12], |steps| {
                let mut command = program();
                command.args(["steps", case, who, &steps.to_string()]);
                command
            })
        };
        figures.push(Figure {
            case: format!("{case}/autounit_over_hand"),
            metric: "instruction_ratio".into(),
            value: count("autounit")? / count("hand")?,
            unit: "ratio".into(),
        });
    }
    Ok(())
}
