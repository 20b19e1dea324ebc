//! `cargo xtask bench distributed`: training and sums on two ranks of one thread each, under Open MPI, compared with one
//! rank, with two that exchange nothing, and with PyTorch's DDP over Gloo.
//!
//! Each measurement is a process per rank, and all take turns: a slowdown of the machine affects all alike. Other work on
//! the machine is told from that of the ranks, and too much of it ends the benchmark.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::Options;
use super::figures::{Figure, Figures, median};
use super::machine::{self, Ticks};
use super::programs::Programs;
use crate::workspace::{Workspace, run_lines};
use crate::{BoxError, peers, table};

const ROUNDS: usize = 5;

/// Steps of the CNN per process, for about two seconds, and sums per process and length.
const TORCH_STEPS: &str = "24";
const BURN_STEPS: &str = "9";
const PYTORCH_STEPS: &str = "18";
const SUMS: &str = "100";

/// The load per core before the start, at most.
const MOST: f64 = 0.8;

/// The share of the processors that other work may take before each measurement.
const MOST_OTHERS: f64 = 0.25;

/// The time before each measurement in which only other work runs.
const PAUSE: Duration = Duration::from_millis(300);

/// Samples per second of two ranks over twice those of one.
const SCALING: Target = Target::AtLeast(0.95);

/// Within a tenth of the 453 to 463 us that Open MPI took alone.
const MILLION: Target = Target::AtMost(509.0);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// A program that is measured in each round, which prints figures.
pub(super) struct Contestant {
    pub(super) name: &'static str,
    pub(super) command: Command,
}

/// The values of a case, one per round.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) case: String,
    pub(super) metric: String,
    pub(super) unit: String,
    pub(super) values: Vec<f64>,
    /// The largest share of the machine that others have taken in a round.
    pub(super) others: f64,
    pub(super) target: Option<Target>,
}

pub(crate) fn distributed(
    workspace: &Workspace,
    options: &Options,
    figures: &mut Figures,
) -> Result<(), BoxError> {
    let cores = thread::available_parallelism()?.get() as f64;
    refuse(machine::load()?, cores)?;
    let mut contestants = Vec::new();
    let [mpi, _] = peers::mpis(workspace)?;
    let torch_workspace = workspace.torch();
    match &torch_workspace {
        Ok(torch) => {
            let programs = Programs::build_torch(torch)?;
            contestants.extend(training("libtorch", &mpi, &programs.command("ranks-torch"), TORCH_STEPS));
        }
        Err(why) => figures.miss("libtorch", why),
    }
    let programs = Programs::build(workspace)?;
    contestants.extend(training("Burn", &mpi, &programs.command("ranks"), BURN_STEPS));
    let mut sums = programs.command("sums");
    contestants.push(Contestant { name: "sum", command: on_ranks(&mpi, 2, sums.arg(SUMS)) });
    let mut alone = workspace.program("python3");
    alone.arg("bench/peers/mpi.py").arg(&mpi.library).arg(SUMS);
    contestants.push(Contestant { name: "MPI alone", command: on_ranks(&mpi, 2, &alone) });
    if options.peers {
        match peers::python(workspace) {
            Ok(python) => contestants.extend([&[][..], &TORCHRUN].map(|launcher| {
                let mut command = workspace.program(&python);
                command.args(launcher).args(["bench/peers/distributed.py", PYTORCH_STEPS, SUMS]);
                command.env("OMP_NUM_THREADS", "1");
                Contestant { name: "PyTorch", command }
            })),
            Err(why) => figures.miss("peers", why),
        }
    }
    await_quiet(cores, figures)?;
    let mut rows = measure(&mut contestants)?;
    let shares: Vec<Row> =
        ["libtorch", "Burn", "PyTorch"].iter().flat_map(|name| shares(name, &rows)).collect();
    rows.extend(shares);
    rows.iter_mut().filter(|row| row.case == "sum/1000000 f32").for_each(|row| row.target = Some(MILLION));
    show(&rows, figures);
    Ok(())
}

const TORCHRUN: [&str; 5] = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"];

/// Waits for a while until the machine does no other work. It is an error if it still does then.
pub(super) fn await_quiet(cores: f64, figures: &mut Figures) -> Result<(), BoxError> {
    let load = machine::quiet_load(MOST * cores)?;
    refuse(load, cores)?;
    figures.note(&format!("{cores} cores, load {load} before the start"));
    Ok(())
}

/// An error if the load is of a machine that does other work.
pub(super) fn refuse(load: f64, cores: f64) -> Result<(), BoxError> {
    if load / cores <= MOST {
        return Ok(());
    }
    Err(format!("not measured: the load is {load} on {cores} cores, and {MOST} per core is the most").into())
}

/// One rank, two that exchange nothing, and two that train together.
fn training(name: &'static str, mpi: &peers::Mpi, program: &Command, steps: &str) -> [Contestant; 3] {
    [(1, "together"), (2, "apart"), (2, "together")].map(|(count, how)| {
        let mut command = on_ranks(mpi, count, program);
        command.args([how, steps]).envs([("OMP_NUM_THREADS", "1"), ("RAYON_NUM_THREADS", "1")]);
        Contestant { name, command }
    })
}

/// `program` on `count` ranks, each bound to a core, with the folder and the variables of `program`.
pub(super) fn on_ranks(mpi: &peers::Mpi, count: usize, program: &Command) -> Command {
    let mut command = Command::new(&mpi.launcher);
    command.args(["--allow-run-as-root", "--bind-to", "core", "-n", &count.to_string()]);
    command.arg(program.get_program()).args(program.get_args());
    if let Some(folder) = program.get_current_dir() {
        command.current_dir(folder);
    }
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("REGIMEN_MPI", &mpi.library);
    command
}

pub(super) fn measure(contestants: &mut [Contestant]) -> Result<Vec<Row>, BoxError> {
    let mut rows = Vec::new();
    for round in 1..=ROUNDS {
        for Contestant { name, command } in &mut *contestants {
            let (mut printed, before) = (Vec::new(), Ticks::now()?);
            thread::sleep(PAUSE);
            let begun = Ticks::now()?;
            let others = begun.others_since(&before);
            if others > MOST_OTHERS {
                let others = percent(others);
                return Err(
                    format!("measuring ended: other work took {others} of the machine in a pause").into()
                );
            }
            run_lines(command.stdout(Stdio::piped()), |line| printed.extend(Figure::parse(line)))?;
            let others = Ticks::now()?.others_since(&begun);
            for figure in printed {
                let Figure { case, value, unit, .. } = &figure;
                println!(
                    "round {round}: {name}/{case}: {} {unit}, others {}",
                    number(*value),
                    percent(others)
                );
                add(&mut rows, name, figure, others);
            }
        }
    }
    Ok(rows)
}

fn add(rows: &mut Vec<Row>, name: &str, figure: Figure, others: f64) {
    let case = format!("{name}/{}", figure.case);
    match rows.iter_mut().find(|row| row.case == case) {
        Some(row) => {
            row.values.push(figure.value);
            row.others = row.others.max(others);
        }
        None => {
            let Figure { metric, value, unit, .. } = figure;
            rows.push(Row { case, metric, unit, values: vec![value], others, target: None });
        }
    }
}

/// The ratios of each round: of two ranks to twice one rank, apart and together, and of the two to each other.
fn shares(name: &str, rows: &[Row]) -> Vec<Row> {
    let of = |case: &str| rows.iter().find(|row| row.case == format!("{name}/{case}"));
    let ratio = |of: Option<&Row>, over: Option<&Row>, factor: f64, what: &str, target| {
        let (of, over) = (of?, over?);
        Some(Row {
            case: format!("{name}/{what}"),
            metric: "ratio".into(),
            unit: "ratio".into(),
            values: of.values.iter().zip(&over.values).map(|(of, over)| of / (factor * over)).collect(),
            others: of.others.max(over.others),
            target,
        })
    };
    let (one, apart, together) = (of("1 together"), of("2 apart"), of("2 together"));
    // That of PyTorch is for comparison.
    let scaling = apart.is_some().then_some(SCALING);
    let shares = [
        ratio(apart, one, 2.0, "2 apart over twice 1", None),
        ratio(together, one, 2.0, "2 together over twice 1", scaling),
        ratio(together, apart, 1.0, "2 together over 2 apart", None),
    ];
    shares.into_iter().flatten().collect()
}

pub(super) fn show(rows: &[Row], figures: &mut Figures) {
    let head = ["case", "median", "least", "most", "unit", "target", "", "others"].map(str::to_owned);
    let mut cells = vec![head];
    for Row { case, metric, unit, values, others, target } in rows {
        let value = median(values);
        let (least, most) = values
            .iter()
            .fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(*value), most.max(*value)));
        let (target, met) = target.map_or_else(Default::default, |target| target.verdict(value));
        let [median, least, most] = [value, least, most].map(number);
        cells.push([case.clone(), median, least, most, unit.clone(), target, met, percent(*others)]);
        figures.push(Figure { case: case.clone(), metric: metric.clone(), value, unit: unit.clone() });
    }
    figures.show(&table::columns([false, true, true, true, false, true, false, true], &cells));
}

impl Target {
    /// The target as a text, and whether `value` meets it.
    fn verdict(self, value: f64) -> (String, String) {
        let (text, is_met) = match self {
            Target::AtLeast(least) => (format!(">= {}", number(least)), value >= least),
            Target::AtMost(most) => (format!("<= {}", number(most)), value <= most),
        };
        (text, if is_met { "met" } else { "missed" }.into())
    }
}

/// Three digits at least.
fn number(value: f64) -> String {
    let digits = if value < 10.0 {
        3
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.digits$}")
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_is_refused() {
        assert!(refuse(1.6, 2.0).is_ok());
        let error = refuse(1.7, 2.0).unwrap_err().to_string();
        assert_eq!(error, "not measured: the load is 1.7 on 2 cores, and 0.8 per core is the most");
    }

    #[test]
    fn ratios_are_those_of_each_round_and_are_held_against_their_targets() {
        let rounds = [
            ("1 together", 400.0, 0.0),
            ("2 apart", 790.0, 0.01),
            ("2 together", 760.0, 0.0),
            ("1 together", 500.0, 0.02),
            ("2 apart", 1000.0, 0.0),
            ("2 together", 940.0, 0.1),
            ("1 together", 410.0, 0.0),
            ("2 apart", 820.0, 0.0),
            ("2 together", 779.0, 0.0),
        ];
        let mut rows = Vec::new();
        for (case, value, others) in rounds {
            let (metric, unit) = ("samples_per_s".into(), "samples/s".into());
            add(&mut rows, "Burn", Figure { case: case.into(), metric, value, unit }, others);
        }
        let ratios = shares("Burn", &rows);
        assert!(shares("libtorch", &rows).is_empty());
        rows.extend(ratios);
        let mut figures = Figures::default();
        show(&rows, &mut figures);
        let table = "\
case                          median  least   most  unit         target       others
Burn/1 together                  410    400    500  samples/s                    2 %
Burn/2 apart                     820    790   1000  samples/s                    1 %
Burn/2 together                  779    760    940  samples/s                   10 %
Burn/2 apart over twice 1      1.000  0.988  1.000  ratio                        2 %
Burn/2 together over twice 1   0.950  0.940  0.950  ratio      >= 0.950  met    10 %
Burn/2 together over 2 apart   0.950  0.940  0.962  ratio                       10 %
";
        assert_eq!(figures.table(), table);
    }

    #[test]
    fn a_target_is_met_or_missed() {
        assert_eq!(MILLION.verdict(509.0), ("<= 509".into(), "met".into()));
        assert_eq!(MILLION.verdict(509.5), ("<= 509".into(), "missed".into()));
        assert_eq!(SCALING.verdict(0.949), (">= 0.950".into(), "missed".into()));
    }

    #[test]
    fn a_program_keeps_its_arguments_folder_and_variables_on_ranks() {
        let mpi = peers::Mpi {
            name: "Open MPI",
            launcher: "mpirun".into(),
            library: "libmpi.so".into(),
            args: &[],
            variables: &[],
        };
        let mut program = Command::new("sums");
        program.arg("3").current_dir("/tmp").env("A", "b");
        let text = "cd \"/tmp\" && A=\"b\" REGIMEN_MPI=\"libmpi.so\" \"mpirun\" \"--allow-run-as-root\" \"--bind-to\" \
                    \"core\" \"-n\" \"2\" \"sums\" \"3\"";
        assert_eq!(format!("{:?}", on_ranks(&mpi, 2, &program)), text);
    }
}
