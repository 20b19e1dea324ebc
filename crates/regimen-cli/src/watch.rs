//! `regimen watch`: a run in the terminal.

use std::path::PathBuf;
use std::process::ExitCode;

use regimen::BoxError;
use regimen_dashboard::Watch;

use crate::output;

/// Shows the run in the folder `dir`, or prints one frame of so many columns and rows.
pub(crate) fn watch(dir: PathBuf, once: bool, (width, height): (u16, u16)) -> Result<ExitCode, BoxError> {
    let watch = Watch::new(dir);
    match once || !Watch::has_terminal() {
        true => output::write_text(&watch.frame(width, height))?,
        false => watch.run()?,
    }
    Ok(ExitCode::SUCCESS)
}
