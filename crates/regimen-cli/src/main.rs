//! The `regimen` program: inspects, verifies, compares, copies and exports checkpoints; reports, plots and lists runs.
//!
//! Exits with 0 on success, with 1 and a line on stderr on failure, and with 2 on a usage error.
#![forbid(unsafe_code)]

mod diff;
mod download;
mod export;
mod inspect;
mod output;
mod plot;
mod report;
mod runs;
mod select;
mod table;
mod verify;
mod watch;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use regimen::BoxError;

/// Inspects, verifies, compares, copies and exports checkpoints of regimen; reports, plots and lists runs.
///
/// Checkpoints to inspect, verify, compare, copy and export may be URLs, such as `s3://bucket/runs/digits`.
#[derive(Debug, Parser)]
#[command(name = "regimen", version)]
struct Arguments {
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the checkpoints, and the contents of the newest.
    Inspect {
        /// A run directory or a checkpoint.
        dir: PathBuf,
    },
    /// Read every byte of every checkpoint; fail if one is damaged.
    Verify {
        /// A run directory or a checkpoint.
        dir: PathBuf,
    },
    /// Show the arrays that differ between two checkpoints, and the largest difference.
    Diff {
        /// A checkpoint, or a run directory for its newest undamaged one.
        a: PathBuf,
        /// The checkpoint to compare with, likewise.
        b: PathBuf,
        /// Exit with 1 if they differ.
        #[arg(long)]
        exit_code: bool,
    },
    /// Copy a checkpoint into a folder on this machine, and check every byte of the copy.
    Download {
        /// A checkpoint, or a run directory for its newest undamaged one, which is read twice.
        from: PathBuf,
        /// The folder that gets it, under its own name; made if it does not exist.
        folder: PathBuf,
    },
    /// Write the weights of a checkpoint to one safetensors file.
    Export {
        /// A checkpoint, or a run directory for its newest undamaged one.
        dir: PathBuf,
        /// The file to write; it must not exist.
        file: PathBuf,
        /// The part to export. If given several times, arrays are named `part.array`.
        #[arg(long = "part", default_value = "module")]
        parts: Vec<String>,
    },
    /// Show a run as it trains: curves, progress, load, notices and checkpoints.
    ///
    /// Prints one frame if stdin and stdout are not a terminal. In the terminal, `?` lists the keys.
    Watch {
        /// The folder of the run; it is waited for if it is not there yet.
        run: PathBuf,
        /// Print one frame as text.
        #[arg(long)]
        once: bool,
        /// Columns of that frame.
        #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..=1000))]
        width: u16,
        /// Rows of that frame.
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=1000))]
        height: u16,
    },
    /// Write one HTML page that shows and compares runs.
    Report {
        /// Run directories.
        #[arg(required = true)]
        runs: Vec<PathBuf>,
        /// The page to write; it may be a page of an earlier call.
        #[arg(short, long, default_value = "report.html")]
        output: PathBuf,
        /// Replace a file that is no page.
        #[arg(long)]
        force: bool,
    },
    /// Draw one metric of runs over training steps, as SVG or PNG.
    Plot {
        /// Run directories.
        #[arg(required = true)]
        runs: Vec<PathBuf>,
        /// The name of the metric, such as `train/loss`.
        #[arg(short, long)]
        metric: String,
        /// The picture to write, which ends in `.svg` or `.png`; it may be a plot of an earlier call.
        #[arg(short, long, default_value = "plot.svg")]
        output: PathBuf,
        /// Draw a logarithmic vertical axis.
        #[arg(long)]
        log: bool,
        /// Replace a file that is no plot.
        #[arg(long)]
        force: bool,
    },
    /// List the runs below a directory, with their state, their metrics and the hyper-parameters that differ.
    Runs {
        /// A directory with run directories, or one of them.
        dir: PathBuf,
        /// Metrics to show, with their last and smallest value. Default: those whose name has `loss` in it.
        #[arg(short, long = "metric")]
        metrics: Vec<String>,
        /// Sort by the smallest value of a metric, or with `--max` by the largest, which is then first.
        #[arg(long)]
        sort: Option<String>,
        /// Show the largest values in place of the smallest.
        #[arg(long)]
        max: bool,
    },
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A failure to write to stderr cannot be reported.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            let error = output::escape(&error.to_string(), &['\n']);
            let _ = writeln!(std::io::stderr(), "regimen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(Arguments { json, command }: Arguments) -> Result<ExitCode, BoxError> {
    match command {
        Command::Inspect { dir } => inspect::inspect(&dir, json),
        Command::Verify { dir } => verify::verify(&dir, json),
        Command::Diff { a, b, exit_code } => diff::diff(&a, &b, exit_code, json),
        Command::Download { from, folder } => download::download(&from, &folder, json),
        Command::Export { dir, file, parts } => export::export(&dir, &file, &parts, json),
        Command::Watch { run, once, width, height } => watch::watch(run, once, (width, height)),
        Command::Report { runs, output, force } => report::report(runs, &output, force, json),
        Command::Plot { runs, metric, output, log, force } => {
            let draw = |plot: regimen_report::Plot| plot.log_scale(log).replaces_any(force);
            plot::plot(runs, metric, &output, draw, json)
        }
        Command::Runs { dir, metrics, sort, max } => runs::runs(&dir, metrics, sort, max, json),
    }
}
