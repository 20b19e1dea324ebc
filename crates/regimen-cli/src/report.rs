//! `regimen report`: one HTML page of runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use regimen::BoxError;
use regimen::text::Count;
use regimen_report::{Page, PageReport};
use serde::Serialize;

use crate::output;

#[derive(Serialize)]
struct Written(PageReport);

/// Writes the page of `runs` to `file`.
pub(crate) fn report(runs: Vec<PathBuf>, file: &Path, force: bool, json: bool) -> Result<ExitCode, BoxError> {
    let written = Page::new(runs).replaces_any(force).write(file)?;
    output::write(&Written(written), json)?;
    Ok(ExitCode::SUCCESS)
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PageReport { file, bytes, runs, values, notices, .. } = &self.0;
        let (runs, values) = (Count(*runs, "run"), Count(*values, "value"));
        writeln!(f, "`{}` has {runs} with {values}, in {bytes} bytes", file.display())?;
        notices.iter().try_for_each(|notice| writeln!(f, "{notice}"))
    }
}
