//! `cargo xtask bench precision`: time and memory of a training step in single and half precision,
//! with activations kept or recomputed, by `AutoUnit` on both engines and by PyTorch.
//!
//! Peak memory is a property of a process, so each cell has a separate process. Rounds go over all
//! cells: a slowdown of the machine affects all alike.

use std::process::{Command, Stdio};

use super::Options;
use super::figures::{Figure, Figures, median};
use super::programs::Programs;
use crate::workspace::{Workspace, run_lines};
use crate::{BoxError, peers, table};

/// Network, batch size, and steps per process.
const NETWORKS: [(&str, usize, usize); 3] = [("mlp", 512, 30), ("cnn", 64, 10), ("chars", 16, 6)];
const PRECISIONS: [&str; 3] = ["fp32", "bf16", "fp16"];

/// The same on a CUDA device.
const ON_CUDA: (&str, usize, usize) = ("cnn", 512, 200);
const PRECISIONS_ON_CUDA: [&str; 4] = ["fp32", "tf32", "bf16", "fp16"];

/// Waiting threads of libtorch sleep at once. Spinning ones would take the cores of working ones on
/// a busy machine, and steps would take ten times as long.
const SETTINGS: [(&str, &str); 3] =
    [("OMP_NUM_THREADS", THREADS), ("OMP_WAIT_POLICY", "passive"), ("RAYON_NUM_THREADS", THREADS)];
const THREADS: &str = "2";
const ROUNDS: usize = 3;

/// The baseline of the table of an engine, per network.
const BASE: (&str, bool) = ("fp32", false);

/// Metrics and units, in the order of [`Contestant::numbers`].
const METRICS: [(&str, &str); 4] =
    [("ms_per_step", "ms"), ("ms_over_fp32", "ratio"), ("peak_memory", "MiB"), ("memory_over_fp32", "ratio")];

/// The settings of a measurement.
#[derive(Clone, Copy, Debug)]
struct Cell {
    network: &'static str,
    batch: usize,
    steps: usize,
    precision: &'static str,
    recomputes: bool,
    device: &'static str,
}

/// A cell of an engine, with its program and the program's name.
struct Contestant {
    engine: &'static str,
    cell: Cell,
    command: Command,
    /// Milliseconds and MiB per round; `None` once a measurement has failed.
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

/// Returns `true` if the program finds a CUDA device.
fn has_cuda(mut program: Command) -> Result<bool, BoxError> {
    let mut found = false;
    run_lines(program.arg("devices").stdout(Stdio::piped()), |line| found |= line.contains("cuda"))?;
    Ok(found)
}

/// Measures all cells one after another, in each round.
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

/// Runs the program, and returns the two numbers that it prints.
fn ask(command: &mut Command) -> Result<(f64, f64), BoxError> {
    let mut last = String::new();
    run_lines(command.stdout(Stdio::piped()), |line| line.clone_into(&mut last))?;
    pair(&last).ok_or_else(|| format!("no two numbers: `{last}`").into())
}

fn pair(line: &str) -> Option<(f64, f64)> {
    let (time, memory) = line.split_once(' ')?;
    Some((time.parse().ok()?, memory.parse().ok()?))
}

/// Shows a table per engine, and records each cell as figures.
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

/// A number as a table cell.
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

    /// The command line arguments of the programs.
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

    /// The medians of the rounds: milliseconds and MiB, each followed by its ratio to `base`.
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
        let args = |cell: Cell| cell.args().join(" ");
        assert_eq!(args(Cell::new(("mlp", 8, 20), "bf16", false, "cpu")), "mlp 8 bf16 --steps 20");
        let cell = Cell::new(ON_CUDA, "tf32", true, "cuda:0");
        assert_eq!(args(cell), "cnn 512 tf32 --steps 200 --checkpoint --device cuda:0");
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
