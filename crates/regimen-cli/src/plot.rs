//! `regimen plot`: a picture of one metric.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use regimen::BoxError;
use regimen_report::Plot;
use serde::Serialize;

use crate::output;

#[derive(Serialize)]
struct Drawn {
    file: String,
    metric: String,
    runs: usize,
}

/// Draws `metric` of `runs` by `draw` to `file`.
pub(crate) fn plot(
    runs: Vec<PathBuf>,
    metric: String,
    file: &Path,
    draw: impl FnOnce(Plot) -> Plot,
    json: bool,
) -> Result<ExitCode, BoxError> {
    let count = runs.len();
    draw(Plot::new(&*metric)).write(runs, file)?;
    output::write(&Drawn { file: file.display().to_string(), metric, runs: count }, json)?;
    Ok(ExitCode::SUCCESS)
}

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "`{}` shows `{}`", self.file, self.metric)
    }
}
