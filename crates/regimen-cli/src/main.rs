//! The `regimen` program: looks at checkpoints, verifies, compares and exports them.
//!
//! It exits with 0, with 1 and a line on stderr if something failed, and with 2 if the
//! arguments are wrong.
#![forbid(unsafe_code)]

mod diff;
mod export;
mod inspect;
mod output;
mod select;
mod table;
mod verify;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use regimen::BoxError;

/// Looks at the checkpoints of regimen.
#[derive(Debug, Parser)]
#[command(name = "regimen", version)]
struct Arguments {
    /// Writes JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the checkpoints, and the content of the newest one.
    Inspect {
        /// A run directory, or a checkpoint in it.
        dir: PathBuf,
    },
    /// Reads every byte of every checkpoint; fails if one is damaged.
    Verify {
        /// A run directory, or a checkpoint in it.
        dir: PathBuf,
    },
    /// Lists the arrays that differ between two checkpoints, and by how much.
    Diff {
        /// A checkpoint, or a run directory of which the newest whole one is used.
        a: PathBuf,
        /// The one to compare with.
        b: PathBuf,
        /// Exits with 1 if they differ.
        #[arg(long)]
        exit_code: bool,
    },
    /// Writes the weights of a checkpoint to one safetensors file.
    Export {
        /// A checkpoint, or a run directory of which the newest whole one is used.
        dir: PathBuf,
        /// The file to write, which must not exist.
        file: PathBuf,
        /// The part to export. Given several times, arrays are named `part.array`.
        #[arg(long = "part", default_value = "module")]
        parts: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // There is no one left to tell when this cannot be written.
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
        Command::Export { dir, file, parts } => export::export(&dir, &file, &parts, json),
    }
}
