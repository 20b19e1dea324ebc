//! `cargo xtask bench learner`: one training by `Run::fit` and by burn-train's learner, on the same
//! backend, with all that people have around one: a bar, logs of every step, checkpoints.
//!
//! Each training is a process of its own, and the two take turns.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Options;
use super::figures::{Figure, Figures, median};
use super::machine;
use crate::BoxError;
use crate::workspace::{Workspace, run};

/// The workspace of the program, in the clone.
pub(crate) const FOLDER: &str = "bench/learner";

const TRAINERS: [&str; 2] = ["regimen", "burn-train"];
const EPOCHS: &str = "3";
const ROUNDS: usize = 5;

/// A higher load than this, averaged over a minute, is of other work: nothing is judged then.
const MAX_LOAD: f64 = 0.8;

/// Costs of a training run, by the names of their figures.
const COSTS: [(&str, &str); 4] =
    [("wall_s_per_epoch", "s"), ("cpu_s_per_epoch", "s"), ("peak_mib", "MiB"), ("accuracy", "")];

pub(crate) fn learner(
    workspace: &Workspace,
    options: &Options,
    figures: &mut Figures,
) -> Result<(), BoxError> {
    let program = build(workspace)?;
    let data = options.data.clone().or_else(|| mnist(workspace));
    match &data {
        Some(folder) => println!("training on the first images of the MNIST files in {}", folder.display()),
        None => println!("training on images that are made up, in the shape of MNIST's"),
    }
    let out = workspace.scratch("learner")?;
    let load = machine::quiet_load(MAX_LOAD)?;
    // A list for each trainer, of the costs of its rounds.
    let mut costs = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        // Who is first changes from round to round. The first round is not kept: it warms up.
        for turn in 0..TRAINERS.len() {
            let who = (round + turn) % TRAINERS.len();
            let out = out.join(format!("{}-{round}", TRAINERS[who]));
            fs::create_dir(&out)?;
            let cost = train(workspace, &program, TRAINERS[who], &out, data.as_deref())?;
            println!("round {round}: {:10} {cost:.3?}", TRAINERS[who]);
            if round != 0 {
                costs[who].push(cost);
            }
            fs::remove_dir_all(out)?;
        }
    }
    tell(&costs, load, figures);
    Ok(())
}

/// Builds the program, which lies in a workspace of its own.
fn build(workspace: &Workspace) -> Result<PathBuf, BoxError> {
    let mut cargo = workspace.cargo(&["build", "--release"]);
    run(cargo.current_dir(workspace.root.join(FOLDER)))?;
    Ok(workspace.target.join("release").join(format!("learner{}", std::env::consts::EXE_SUFFIX)))
}

/// The folder of MNIST's files beside the clone, if there is one.
fn mnist(workspace: &Workspace) -> Option<PathBuf> {
    let folder = workspace.root.parent()?.join("shared/data");
    folder.join("t10k-images-idx3-ubyte.gz").exists().then_some(folder)
}

/// Trains in a new process.
fn train(
    workspace: &Workspace,
    program: &Path,
    who: &str,
    out: &Path,
    data: Option<&Path>,
) -> Result<[f64; COSTS.len()], BoxError> {
    let mut command: Command = workspace.program(program);
    command.args([who, EPOCHS]).arg(out).args(data).stderr(Stdio::null());
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    if !output.status.success() {
        return Err(format!("{command:?} ended with {}", output.status).into());
    }
    read(last).ok_or_else(|| format!("{command:?} ended with the line `{last}`").into())
}

/// The numbers in the line that the program ends with.
fn read(line: &str) -> Option<[f64; COSTS.len()]> {
    let numbers: Option<Vec<f64>> = line.split(' ').map(|number| number.parse().ok()).collect();
    numbers?.try_into().ok()
}

/// Takes the medians, and the medians of the rounds' ratios, and says whether they are judged.
fn tell(costs: &[Vec<[f64; COSTS.len()]>; 2], load: f64, figures: &mut Figures) {
    let figure = |case: &str, metric: &str, value: f64, unit: &str| Figure {
        case: format!("learner/{case}"),
        metric: metric.into(),
        value,
        unit: unit.into(),
    };
    for (who, rounds) in TRAINERS.iter().zip(costs) {
        for (i, (metric, unit)) in COSTS.iter().enumerate() {
            let values: Vec<f64> = rounds.iter().map(|cost| cost[i]).collect();
            figures.push(figure(who, metric, median(&values), unit));
        }
    }
    let ratio = |i: usize| {
        let rounds = costs[0].iter().zip(&costs[1]);
        median(&rounds.map(|(regimen, burn_train)| regimen[i] / burn_train[i]).collect::<Vec<_>>())
    };
    for (i, metric) in ["wall_ratio", "cpu_ratio", "peak_ratio"].into_iter().enumerate() {
        figures.push(figure("regimen_over_burn-train", metric, ratio(i), "ratio"));
    }
    figures.push(figure("before", "load", load, ""));
    figures.note(&match load <= MAX_LOAD {
        true if ratio(0) <= 1.0 => {
            format!("JUDGED: regimen takes no more time, {:.3} of burn-train's", ratio(0))
        }
        true => format!("JUDGED: regimen takes more time, {:.3} of burn-train's", ratio(0)),
        false => format!("NOT JUDGED: the load was {load} before the start, and {MAX_LOAD} is the most"),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_costs_are_read_from_the_whole_line() {
        assert_eq!(read("1.5 2.25 80 0.97"), Some([1.5, 2.25, 80.0, 0.97]));
        assert_eq!(read("1.5 2.25 80"), None);
        assert_eq!(read("Split ended."), None);
    }

    #[test]
    fn a_ratio_is_that_of_the_rounds_and_a_loaded_machine_is_not_judged() {
        let costs = [
            vec![[1.0, 2.0, 50.0, 0.9], [3.0, 2.0, 50.0, 0.9], [2.0, 2.0, 50.0, 0.9]],
            vec![[2.0, 1.0, 100.0, 0.8], [3.0, 1.0, 100.0, 0.8], [1.0, 1.0, 100.0, 0.8]],
        ];
        let told = |load| {
            let mut figures = Figures::default();
            tell(&costs, load, &mut figures);
            figures.table()
        };
        let table = "\
case                             metric              value  unit
learner/regimen                  wall_s_per_epoch    2.000  s
learner/regimen                  cpu_s_per_epoch     2.000  s
learner/regimen                  peak_mib           50.000  MiB
learner/regimen                  accuracy            0.900
learner/burn-train               wall_s_per_epoch    2.000  s
learner/burn-train               cpu_s_per_epoch     1.000  s
learner/burn-train               peak_mib          100.000  MiB
learner/burn-train               accuracy            0.800
learner/regimen_over_burn-train  wall_ratio          1.000  ratio
learner/regimen_over_burn-train  cpu_ratio           2.000  ratio
learner/regimen_over_burn-train  peak_ratio          0.500  ratio
learner/before                   load                0.500
";
        assert_eq!(told(0.5), format!("{table}JUDGED: regimen takes no more time, 1.000 of burn-train's\n"));
        let loaded = table.replace("0.500\n", "1.500\n");
        let not = "NOT JUDGED: the load was 1.5 before the start, and 0.8 is the most\n";
        assert_eq!(told(1.5), format!("{loaded}{not}"));
    }
}
