//! `cargo xtask bench NAME [--json FILE] [--peers] [--data FOLDER]`: measures, prints a table, and
//! writes it as JSON where that is asked for.

mod callgrind;
mod checkpoint;
mod engines;
mod figures;
pub(crate) mod learner;
mod loader;
mod overhead;
mod precision;
mod programs;
mod server;

use std::path::PathBuf;
use std::{fs, io};

use crate::workspace::Workspace;
use crate::{BoxError, USAGE};
use figures::Figures;

/// What a benchmark is told.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Where the figures are written, beside the table.
    json: Option<PathBuf>,
    /// Whether the peers are measured too.
    peers: bool,
    /// The folder of real data, for what is measured over data; generated where there is none.
    data: Option<PathBuf>,
}

pub(crate) fn run(name: &str, args: &[&str]) -> Result<(), BoxError> {
    let bench = match name {
        "checkpoint" => checkpoint::checkpoint,
        "engines" => engines::engines,
        "learner" => learner::learner,
        "loader" => loader::loader,
        "overhead" => overhead::overhead,
        "precision" => precision::precision,
        _ => return Err(format!("no benchmark is called `{name}`\n{USAGE}").into()),
    };
    let options = Options::parse(args)?;
    // A file that cannot be written is found now, not after the measuring.
    let json = options.json.as_ref().map(fs::File::create).transpose()?;
    let mut figures = Figures::default();
    bench(&Workspace::open()?, &options, &mut figures)?;
    print!("\n{}", figures.table());
    if let Some(json) = json {
        figures.write_json(io::BufWriter::new(json))?;
    }
    figures.verdict()
}

impl Options {
    fn parse(mut args: &[&str]) -> Result<Self, BoxError> {
        let mut options = Options::default();
        loop {
            args = match args {
                [] => return Ok(options),
                ["--peers", rest @ ..] => {
                    options.peers = true;
                    rest
                }
                ["--data", folder, rest @ ..] => {
                    options.data = Some(std::path::absolute(folder)?);
                    rest
                }
                ["--json", file, rest @ ..] => {
                    // Cargo was called in the folder that the path is meant from.
                    options.json = Some(std::path::absolute(file)?);
                    rest
                }
                [other, ..] => return Err(format!("`{other}` is not understood\n{USAGE}").into()),
            }
        }
    }
}
