//! `cargo xtask bench NAME [--json FILE] [--peers] [--data FOLDER]`: runs a benchmark, prints a
//! table, and optionally writes it as JSON.

mod batteries;
mod callgrind;
mod checkpoint;
mod distributed;
mod engines;
mod figures;
pub(crate) mod learner;
mod loader;
mod machine;
mod object_store;
mod overhead;
mod overlap;
mod precision;
mod programs;
mod report;
mod server;

use std::path::PathBuf;
use std::{fs, io};

use crate::workspace::Workspace;
use crate::{BoxError, USAGE};
use figures::Figures;

/// Command line options of a benchmark.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// The JSON file to write in addition to the table.
    json: Option<PathBuf>,
    /// Measures the peers too.
    peers: bool,
    /// The folder of real data. Default: generated data.
    data: Option<PathBuf>,
}

pub(crate) fn run(name: &str, args: &[&str]) -> Result<(), BoxError> {
    let bench = match name {
        "batteries" => batteries::batteries,
        "checkpoint" => checkpoint::checkpoint,
        "distributed" => distributed::distributed,
        "engines" => engines::engines,
        "learner" => learner::learner,
        "loader" => loader::loader,
        "object-store" => object_store::object_store,
        "overhead" => overhead::overhead,
        "overlap" => overlap::overlap,
        "precision" => precision::precision,
        "report" => report::report,
        _ => return Err(format!("unknown benchmark `{name}`\n{USAGE}").into()),
    };
    let options = Options::parse(args)?;
    // An unwritable file is an error now, not after the measurements.
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
                    // The path is relative to the folder in which cargo was called.
                    options.json = Some(std::path::absolute(file)?);
                    rest
                }
                [other, ..] => return Err(format!("unknown option `{other}`\n{USAGE}").into()),
            }
        }
    }
}
