//! `cargo xtask bench engines`: milliseconds per training step of the same networks on libtorch and
//! on Burn, with and without `AutoUnit`, and on PyTorch.
//!
//! All programs stay alive and take turns: a slowdown of the machine affects all alike.

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::Options;
use super::figures::{Figure, Figures, median};
use super::programs::Programs;
use super::server::Server;
use crate::workspace::Workspace;
use crate::{BoxError, peers};

/// Network, batch size, and steps per turn, for about a fifth of a second.
const CASES: [(&str, usize, usize); 7] = [
    ("mlp", 8, 200),
    ("mlp", 64, 120),
    ("mlp", 512, 25),
    ("cnn", 8, 30),
    ("cnn", 64, 6),
    ("chars", 16, 3),
    ("linear", 1, 4_000),
];

const THREADS: [usize; 2] = [1, 2];
const ROUNDS: usize = 9;

/// Pause between turns. Idle threads of libtorch spin for some milliseconds before they sleep, and
/// would disturb the next measurement.
const PAUSE: Duration = Duration::from_millis(50);

/// The trainer that is compared with the others.
const OURS: &str = "regimen-torch";
const OTHERS: [&str; 4] = ["hand-tch", "pytorch", "pytorch-fused", "torchtnt"];

/// A program: its command for a number of threads, and its trainers.
type Program<'a> = (Box<dyn Fn(usize) -> Command + 'a>, &'static [&'static str]);

/// Times per trainer, one value per round.
type Times = BTreeMap<&'static str, Vec<f64>>;

pub(crate) fn engines(
    workspace: &Workspace,
    options: &Options,
    figures: &mut Figures,
) -> Result<(), BoxError> {
    let torch_workspace = workspace.torch();
    let mut programs: Vec<Program<'_>> = Vec::new();
    match &torch_workspace {
        Ok(torch) => {
            let torch = Programs::build_torch(torch)?;
            programs.push((Box::new(move |threads| torch_command(&torch, threads)), &["hand-tch", OURS]));
        }
        Err(why) => figures.miss("libtorch", why),
    }
    let burn = Programs::build(workspace)?;
    programs.push((Box::new(move |threads| burn_command(&burn, threads)), &["regimen-burn"]));
    if options.peers {
        match peers::python(workspace) {
            Ok(python) => {
                let command = move |threads: usize| {
                    let mut command = workspace.program(&python);
                    command.args(["bench/peers/engines.py", &threads.to_string()]);
                    command
                };
                programs.push((Box::new(command), &["pytorch", "pytorch-fused", "torchtnt"]));
            }
            Err(why) => figures.miss("peers", why),
        }
    }
    measure(&programs, figures)
}

fn torch_command(programs: &Programs<'_>, threads: usize) -> Command {
    let mut command = programs.command("engines-torch");
    command.arg(threads.to_string());
    command
}

fn burn_command(programs: &Programs<'_>, threads: usize) -> Command {
    let mut command = programs.command("engines");
    command.env("RAYON_NUM_THREADS", threads.to_string());
    command
}

fn measure(programs: &[Program<'_>], figures: &mut Figures) -> Result<(), BoxError> {
    let mut ratios = Vec::new();
    for threads in THREADS {
        let mut contestants = Vec::new();
        for (command, trainers) in programs {
            contestants.push((Server::start(&mut command(threads))?, *trainers));
        }
        for (model, batch, steps) in CASES {
            let case = format!("{model}/batch={batch}/threads={threads}");
            println!("measuring {case}");
            let times = rounds(&mut contestants, |trainer| format!("{model} {batch} {trainer} {steps}"))?;
            for (trainer, times) in &times {
                figures.push(figure(format!("{case}/{trainer}"), "ms_per_step", median(times), "ms"));
            }
            for other in OTHERS {
                if let Some(ratio) = ratio(&times, OURS, other) {
                    ratios.push(figure(format!("{case}/{OURS}_over_{other}"), "ratio", ratio, "ratio"));
                }
            }
        }
    }
    ratios.into_iter().for_each(|ratio| figures.push(ratio));
    Ok(())
}

/// Measures all contestants in each round, one after another. The first round is a warm-up.
fn rounds(
    contestants: &mut [(Server, &'static [&'static str])],
    question: impl Fn(&str) -> String,
) -> Result<Times, BoxError> {
    let mut times = Times::new();
    for round in 0..=ROUNDS {
        for (server, trainers) in &mut *contestants {
            for trainer in *trainers {
                thread::sleep(PAUSE);
                let time = server.ask(&question(trainer))?;
                if round != 0 {
                    times.entry(trainer).or_default().push(time);
                }
            }
        }
    }
    Ok(times)
}

/// The median of the ratios of the rounds. Returns `None` if one of the two was not measured.
fn ratio(times: &Times, of: &str, over: &str) -> Option<f64> {
    let (of, over) = (times.get(of)?, times.get(over)?);
    Some(median(&of.iter().zip(over).map(|(of, over)| of / over).collect::<Vec<_>>()))
}

fn figure(case: String, metric: &str, value: f64, unit: &str) -> Figure {
    Figure { case, metric: metric.into(), value, unit: unit.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_median_of_those_of_the_rounds() {
        let times = Times::from([("a", vec![1.0, 9.0, 4.0]), ("b", vec![1.0, 3.0, 2.0])]);
        assert_eq!(ratio(&times, "a", "b"), Some(2.0));
        assert_eq!(ratio(&times, "a", "c"), None);
    }
}
