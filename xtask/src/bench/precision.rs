//! `cargo xtask bench precision`: milliseconds and memory of a training step in single and in half
//! precision, with activations kept and computed again, by `AutoUnit` on both engines, and beside them
//! what PyTorch makes of it.
//!
//! What a process had in memory at most is of the process: each cell has one of its own, and rounds go
//! over all of them, so that a machine that grows slower slows all alike.

use std::process::{Command, Stdio};

use super::Options;
use super::figures::{Figure, Figures, median};
use super::programs::Programs;
use crate::workspace::{Workspace, run_lines};
use crate::{BoxError, peers, table};

/// Network, samples of a batch, and the steps of one process.
const NETWORKS: [(&str, usize, usize); 3] = [("mlp", 512, 30), ("cnn", 64, 10), ("chars", 16, 6)];
const PRECISIONS: [&str; 3] = ["fp32", "bf16", "fp16"];

/// The same on a CUDA device.
const ON_CUDA: (&str, usize, usize) = ("cnn", 512, 200);
const PRECISIONS_ON_CUDA: [&str; 4] = ["fp32", "tf32", "bf16", "fp16"];

/// Threads of libtorch that wait sleep at once: else one that waits takes the place of one that works,
/// wherever the machine does other work beside, and steps take ten times as long.
const SETTINGS: [(&str, &str); 3] =
    [("OMP_NUM_THREADS", THREADS), ("OMP_WAIT_POLICY", "passive"), ("RAYON_NUM_THREADS", THREADS)];
const THREADS: &str = "2";
const ROUNDS: usize = 3;

/// What all are held against in the table of their engine: those of the same network.
const BASE: (&str, bool) = ("fp32", false);

/// The numbers of a cell, as [`Contestant::numbers`] has them.
const METRICS: [(&str, &str); 4] =
    [("ms_per_step", "ms"), ("ms_over_fp32", "ratio"), ("peak_memory", "MiB"), ("memory_over_fp32", "ratio")];

/// What is trained, and how.
#[derive(Clone, Copy, Debug)]
struct Cell {
    network: &'static str,
    batch: usize,
    steps: usize,
    precision: &'static str,
    recomputes: bool,
    device: &'static str,
}

/// A cell of an engine, by its program and that program's name.
struct Contestant {
    engine: &'static str,
    cell: Cell,
    command: Command,
    /// Milliseconds and MiB of every round; None once it could not be measured.
    measured: Option<Vec<(f64, f64)>>,
}

pub(crate) fn precision(
    workspace: &Workspace,
    options: &Options,
    figures: &mut Figures,
) -> Result<(), BoxError> {
    let python = match options.peers.then(|| peers::python(workspace)) {
        None => None,
        Some(Ok(python)) => Some(python),
        Some(Err(why)) => {
            figures.miss("peers", why);
            None
        }
    };
    let torch_workspace = workspace.torch();
    let torch = match &torch_workspace {
        Ok(torch) => Some(Programs::build_torch(torch)?),
        Err(why) => {
            figures.miss("libtorch", why);
            None
        }
    };
    let burn = Programs::build(workspace)?;
    let mut contestants = Vec::new();
    let mut add = |engine, cell, command| contestants.push(Contestant::new(engine, cell, command));
    let peer = |python| {
        let mut command = workspace.program(python);
        command.arg("bench/peers/precision.py");
        command
    };
    for cell in on_cpu() {
        if let Some(torch) = &torch {
            add("libtorch", cell, torch.command("precision-torch"));
        }
        add("Burn", cell, burn.command("precision"));
        if let Some(python) = &python {
            add("PyTorch", cell, peer(python));
        }
    }
    if let Some(torch) = &torch {
        if has_cuda(torch.command("precision-torch"))? {
            for cell in on_cuda() {
                add("libtorch on CUDA", cell, torch.command("precision-torch"));
                if let Some(python) = &python {
                    add("PyTorch on CUDA", cell, peer(python));
                }
            }
        } else {
            figures.miss("cnn/batch=512 on CUDA", "no CUDA device");
        }
    }
    measure(&mut contestants, figures);
    show(&contestants, figures);
    Ok(())
}

fn on_cpu() -> impl Iterator<Item = Cell> {
    let networks = NETWORKS.into_iter();
    networks.flat_map(|network| {
        let cells = move |precision| [false, true].map(|again| Cell::new(network, precision, again, "cpu"));
        PRECISIONS.into_iter().flat_map(cells)
    })
}

fn on_cuda() -> impl Iterator<Item = Cell> {
    PRECISIONS_ON_CUDA.into_iter().map(|precision| Cell::new(ON_CUDA, precision, false, "cuda:0"))
}

/// Whether the program knows a CUDA device.
fn has_cuda(mut program: Command) -> Result<bool, BoxError> {
    let mut found = false;
    run_lines(program.arg("devices").stdout(Stdio::piped()), |line| found |= line.contains("cuda"))?;
    Ok(found)
}

/// One after another, in each round.
fn measure(contestants: &mut [Contestant], figures: &mut Figures) {
    for round in 1..=ROUNDS {
        println!("round {round} of {ROUNDS}");
        for contestant in &mut *contestants {
            let Some(measured) = &mut contestant.measured else { continue };
            match ask(&mut contestant.command) {
                Ok(pair) => measured.push(pair),
                Err(why) => {
                    figures.miss(&contestant.name(), why);
                    contestant.measured = None;
                }
            }
        }
    }
}

/// The two numbers that the program prints.
fn ask(command: &mut Command) -> Result<(f64, f64), BoxError> {
    let mut last = String::new();
    run_lines(command.stdout(Stdio::piped()), |line| line.clone_into(&mut last))?;
    pair(&last).ok_or_else(|| format!("no two numbers: `{last}`").into())
}

fn pair(line: &str) -> Option<(f64, f64)> {
    let (time, memory) = line.split_once(' ')?;
    Some((time.parse().ok()?, memory.parse().ok()?))
}

/// A table for each engine, and each cell among the figures.
fn show(contestants: &[Contestant], figures: &mut Figures) {
    let mut engines: Vec<_> = contestants.iter().map(|contestant| contestant.engine).collect();
    engines.sort_unstable();
    engines.dedup();
    for engine in engines {
        let head = ["network", "precision", "activations", "ms", "ratio", "MiB", "ratio"];
        let mut rows = vec![head.map(str::to_owned)];
        let of_engine: Vec<_> = contestants.iter().filter(|one| one.engine == engine).collect();
        for contestant in &of_engine {
            let base = of_engine.iter().find(|other| other.is_base_of(contestant));
            let numbers = contestant.numbers(base.and_then(|base| base.measured.as_deref()));
            let Cell { network, batch, precision, recomputes, .. } = contestant.cell;
            let activations = if recomputes { "again" } else { "kept" };
            let [time, slower, memory, more] = numbers;
            rows.push([
                format!("{network}, batch {batch}"),
                precision.into(),
                activations.into(),
                cell(time, 1),
                cell(slower, 2),
                cell(memory, 0),
                cell(more, 2),
            ]);
            for ((metric, unit), value) in METRICS.into_iter().zip(numbers) {
                if value.is_finite() {
                    let (case, metric, unit) = (contestant.name(), metric.into(), unit.into());
                    figures.push(Figure { case, metric, value, unit });
                }
            }
        }
        let table = table::columns([false, false, false, true, true, true, true], &rows);
        figures.show(&format!("{engine}, {THREADS} threads\n{table}\n"));
    }
}

/// A number in the table.
fn cell(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { "-".into() }
}

impl Cell {
    fn new(
        (network, batch, steps): (&'static str, usize, usize),
        precision: &'static str,
        recomputes: bool,
        device: &'static str,
    ) -> Self {
        Cell { network, batch, steps, precision, recomputes, device }
    }

    /// What the programs are told.
    fn args(&self) -> Vec<String> {
        let Cell { network, batch, steps, precision, recomputes, device } = *self;
        let mut args = vec![network.into(), batch.to_string(), precision.into()];
        args.extend(["--steps".into(), steps.to_string()]);
        args.extend(recomputes.then(|| "--checkpoint".into()));
        if device != "cpu" {
            args.extend(["--device".into(), device.into()]);
        }
        args
    }
}

impl Contestant {
    fn new(engine: &'static str, cell: Cell, mut command: Command) -> Self {
        command.args(cell.args()).envs(SETTINGS);
        Contestant { engine, cell, command, measured: Some(Vec::new()) }
    }

    fn name(&self) -> String {
        let Cell { network, batch, precision, recomputes, .. } = self.cell;
        let activations = if recomputes { "/checkpoint" } else { "" };
        format!("{network}/batch={batch}/{precision}{activations}/{}", self.engine)
    }

    fn is_base_of(&self, other: &Contestant) -> bool {
        (self.cell.precision, self.cell.recomputes) == BASE && self.cell.network == other.cell.network
    }

    /// The medians of the rounds: milliseconds, MiB, and behind each its ratio to `base`.
    fn numbers(&self, base: Option<&[(f64, f64)]>) -> [f64; 4] {
        let measured = self.measured.as_deref().unwrap_or_default();
        let base = base.unwrap_or_default();
        let of = |number: fn(&(f64, f64)) -> f64| {
            let pairs = measured.iter().zip(base);
            let ratios: Vec<_> = pairs.map(|(one, base)| number(one) / number(base)).collect();
            [median(&measured.iter().map(number).collect::<Vec<_>>()), median(&ratios)]
        };
        let ([time, slower], [memory, more]) = (of(|pair| pair.0), of(|pair| pair.1));
        [time, slower, memory, more]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contestant(precision: &'static str, measured: Option<Vec<(f64, f64)>>) -> Contestant {
        let cell = Cell::new(("mlp", 8, 20), precision, false, "cpu");
        Contestant { measured, ..Contestant::new("Burn", cell, Command::new("precision")) }
    }

    #[test]
    fn a_cell_is_told_as_the_programs_read_it() {
        let told = |cell: Cell| cell.args().join(" ");
        assert_eq!(told(Cell::new(("mlp", 8, 20), "bf16", false, "cpu")), "mlp 8 bf16 --steps 20");
        let cell = Cell::new(ON_CUDA, "tf32", true, "cuda:0");
        assert_eq!(told(cell), "cnn 512 tf32 --steps 200 --checkpoint --device cuda:0");
        assert_eq!((on_cpu().count(), on_cuda().count()), (18, 4));
    }

    #[test]
    fn numbers_are_medians_of_the_rounds_and_ratios_those_of_each_round() {
        let base = contestant("fp32", Some(vec![(1.0, 10.0), (3.0, 10.0), (2.0, 20.0)]));
        let half = contestant("bf16", Some(vec![(1.5, 5.0), (9.0, 5.0), (4.0, 5.0)]));
        assert!(base.is_base_of(&half) && !half.is_base_of(&base));
        assert_eq!(half.numbers(base.measured.as_deref()), [4.0, 2.0, 5.0, 0.5]);
        let numbers = contestant("fp16", None).numbers(base.measured.as_deref());
        assert_eq!(numbers.map(|number| cell(number, 1)), ["-"; 4]);
    }

    #[test]
    fn a_program_prints_two_numbers() {
        assert_eq!(pair("1.5 20"), Some((1.5, 20.0)));
        assert!(pair("1.5 NaN").unwrap().1.is_nan());
        assert_eq!(pair("warming up"), None);
    }
}
