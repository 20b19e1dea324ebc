//! A sample of tables, compared with Python's csv module.

use std::fs;
use std::path::Path;
use std::process::Command;

use regimen::BoxError;
use regimen::random::Random;

use super::trial::Fault;

/// The folder of the sample, inside that of the worker process.
pub(super) const FOLDER: &str = "sample";

/// One table in this many is kept, up to a limit.
const ONE_IN: u64 = 8;
const MOST: u64 = 1_000;

/// Keeps the table `text`, read as `rows`, if its turn has come.
pub(super) fn offer(
    folder: &Path,
    text: &[u8],
    rows: &[Vec<String>],
    random: &mut Random,
) -> Result<(), Fault> {
    let number = random.below(ONE_IN * MOST);
    if MOST <= number {
        return Ok(());
    }
    // Hexadecimal, as in the Python script: a field with a comma or a line end is still one word.
    let word = |field: &String| field.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let line = |row: &Vec<String>| row.iter().map(word).collect::<Vec<_>>().join(",") + "\n";
    let write = || {
        fs::create_dir_all(folder)?;
        fs::write(folder.join(format!("{number}.csv")), text)?;
        fs::write(folder.join(format!("{number}.rows")), rows.iter().map(line).collect::<String>())
    };
    Ok(write().map_err(BoxError::from)?)
}

/// The result of the comparison with Python.
#[derive(Debug)]
pub(super) enum Compared {
    /// Number of tables that are alike, and a description of each other one.
    Read(u64, Vec<String>),
    /// Python is not available.
    NotRun(String),
}

/// Compares the samples in `folders` with Python.
pub(super) fn compare(folders: &[std::path::PathBuf]) -> Compared {
    const PROGRAM: &str = include_str!("rows.py");
    let output = match Command::new("python3").args(["-c", PROGRAM]).args(folders).output() {
        Ok(output) if output.status.success() => output,
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Compared::NotRun(format!("python3 cannot run it: {why}"));
        }
        Err(error) => return Compared::NotRun(format!("there is no python3: {error}")),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let (same, other): (Vec<_>, Vec<_>) = text.lines().partition(|line| *line == "same");
    Compared::Read(same.len() as u64, other.into_iter().map(str::to_owned).collect())
}
