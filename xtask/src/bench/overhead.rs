//! `cargo xtask bench overhead`: overhead of the loop, of `AutoUnit`, `Runner` and `FitLoop` per step.
//!
//! The programs of the `bench` package document the measurements and their baselines.

use super::Options;
use super::callgrind::instructions_per_step;
use super::figures::{Figure, Figures};
use super::programs::{Programs, measure};
use crate::workspace::Workspace;
use crate::{BoxError, peers, tools};

/// Steps of the two runs whose instructions are compared. Whole epochs, so that the ends of epochs
/// count in proportion.
const STEPS: [u64; 2] = [20, 60];

/// The same for empty steps.
const EMPTY_STEPS: [u64; 2] = [1_000, 101_000];

pub(crate) fn overhead(
    workspace: &Workspace,
    options: &Options,
    figures: &mut Figures,
) -> Result<(), BoxError> {
    let programs = Programs::build(workspace)?;
    measure(&mut programs.command("empty_step"), figures)?;
    measure(&mut programs.command("interface_step"), figures)?;
    measure(programs.command("autounit").arg("time"), figures)?;
    match tools::have("valgrind", "--version", "valgrind") {
        Ok(()) => {
            empty_steps(&programs, figures)?;
            instruction_ratios(&programs, figures)?;
        }
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

/// Instructions of an empty step, by the number of callbacks.
fn empty_steps(programs: &Programs<'_>, figures: &mut Figures) -> Result<(), BoxError> {
    for callbacks in ["0", "1", "10", "30"] {
        println!("counting the instructions of an empty step with {callbacks} callbacks");
        let value = instructions_per_step(EMPTY_STEPS, |steps| {
            let mut command = programs.command("empty_step");
            command.args([callbacks, &steps.to_string()]);
            command
        })?;
        let (case, metric) = (format!("empty/{callbacks}"), "instructions_per_step".into());
        figures.push(Figure { case, metric, value, unit: "instructions".into() });
    }
    Ok(())
}

/// Ratio of `AutoUnit` to the same work by hand, for every case that the program lists.
fn instruction_ratios(programs: &Programs<'_>, figures: &mut Figures) -> Result<(), BoxError> {
    let listed = programs.command("autounit").arg("list").output()?;
    for case in String::from_utf8(listed.stdout)?.lines() {
        println!("counting the instructions of {case}");
        let count = |who: &str| {
            instructions_per_step(STEPS, |steps| {
                let mut command = programs.command("autounit");
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
