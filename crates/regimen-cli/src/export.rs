//! `regimen export`: the weights of a checkpoint as one safetensors file.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use regimen::BoxError;
use regimen::checkpoint::safetensors;
use regimen::saved::StateDict;
use regimen::text::Count;
use serde::Serialize;

use crate::output;
use crate::select::Source;

#[derive(Serialize)]
struct Export {
    from: String,
    file: String,
    arrays: usize,
}

/// Writes the arrays of `parts` of the checkpoint at `dir` to the new file `file`.
pub(crate) fn export(dir: &Path, file: &Path, parts: &[String], json: bool) -> Result<ExitCode, BoxError> {
    let checkpoint = Source::of(dir)?.one()?;
    let mut arrays = StateDict::new();
    for part in parts {
        let names = checkpoint.manifest().part_names();
        if !names.contains(&**part) {
            let names: Vec<_> = names.into_iter().collect();
            let from = checkpoint.path().display();
            return Err(format!("`{from}` has no part `{part}`; it has {}", names.join(", ")).into());
        }
        let dict = checkpoint.read(part)?;
        match parts {
            [_] => arrays = dict,
            _ => arrays.insert_all(part, dict)?,
        }
    }
    safetensors::save_file(&arrays, file)?;
    let path = |path: &Path| path.display().to_string();
    output::write(&Export { from: path(checkpoint.path()), file: path(file), arrays: arrays.len() }, json)?;
    Ok(ExitCode::SUCCESS)
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Export { from, file, arrays } = self;
        writeln!(f, "`{file}` has {} of `{from}`", Count(*arrays as u64, "array"))
    }
}
