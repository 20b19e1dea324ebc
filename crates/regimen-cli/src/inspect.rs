//! `regimen inspect`: the checkpoints of a run directory and their contents.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use regimen::BoxError;
use regimen::checkpoint::{Checkpoint, CheckpointError, Listing};
use serde::Serialize;

use crate::output::Number;
use crate::select::Source;
use crate::table::Table;
use crate::{output, select};

#[derive(Serialize)]
struct Inspection {
    /// Newest first.
    checkpoints: Vec<Entry>,
    damaged: Vec<Damaged>,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    path: String,
    run: String,
    save: u64,
    step: u64,
    epoch: u64,
    resumable: bool,
    bytes: u64,
    metrics: BTreeMap<String, Number>,
    parts: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    name: String,
    bytes: u64,
    crc32: String,
    arrays: Vec<Array>,
}

#[derive(Serialize)]
struct Array {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    bytes: usize,
}

#[derive(Serialize)]
struct Damaged {
    name: String,
    reason: String,
}

/// Lists the checkpoints of `dir`, and the parts of the newest one.
pub(crate) fn inspect(dir: &Path, json: bool) -> Result<ExitCode, BoxError> {
    let Listing { checkpoints, skipped } = Source::of(dir)?.all()?;
    let damaged = |path: &Path, reason: &CheckpointError| Damaged {
        name: select::name(path),
        reason: reason.to_string(),
    };
    let mut inspection = Inspection {
        checkpoints: Vec::new(),
        damaged: skipped.iter().map(|skipped| damaged(&skipped.path, &skipped.reason)).collect(),
    };
    for checkpoint in &checkpoints {
        match Entry::of(checkpoint) {
            Ok(entry) => inspection.checkpoints.push(entry),
            Err(reason) => inspection.damaged.push(damaged(checkpoint.path(), &reason)),
        }
    }
    output::write(&inspection, json)?;
    Ok(ExitCode::SUCCESS)
}

impl Entry {
    fn of(checkpoint: &Checkpoint) -> Result<Self, CheckpointError> {
        let manifest = checkpoint.manifest();
        let mut parts = Vec::new();
        for (name, part) in &manifest.parts {
            let arrays = checkpoint.read_header(name)?.into_iter().map(|(name, layout)| Array {
                name,
                dtype: format!("{:?}", layout.dtype),
                shape: layout.shape,
                bytes: layout.bytes,
            });
            let crc32 = format!("{:08x}", part.checksum);
            parts.push(Part { name: name.clone(), bytes: part.length, crc32, arrays: arrays.collect() });
        }
        let metric = |(name, value): (&String, &f64)| (name.clone(), Number(*value));
        Ok(Entry {
            name: select::name(checkpoint.path()),
            path: checkpoint.path().display().to_string(),
            run: manifest.run.clone(),
            save: manifest.save,
            step: manifest.step,
            epoch: manifest.epoch,
            resumable: manifest.resumable,
            bytes: parts.iter().map(|part| part.bytes).sum(),
            metrics: manifest.metrics.iter().map(metric).collect(),
            parts,
        })
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.checkpoints.is_empty() {
            let mut table = Table::new(&["checkpoint", "metrics", "epoch", "step", "bytes"], 3);
            for entry in &self.checkpoints {
                let metrics = entry.metrics.iter().map(|(name, Number(value))| format!("{name} {value}"));
                table.row([
                    entry.name.clone(),
                    metrics.collect::<Vec<_>>().join(", "),
                    entry.epoch.to_string(),
                    entry.step.to_string(),
                    entry.bytes.to_string(),
                ]);
            }
            write!(f, "{table}")?;
        }
        for Damaged { name, reason } in &self.damaged {
            writeln!(f, "{name} is damaged: {reason}")?;
        }
        let Some(newest) = self.checkpoints.first() else { return Ok(()) };
        writeln!(f, "\n{} of the run {}", newest.name, newest.run)?;
        let mut parts = Table::new(&["part", "crc32", "arrays", "bytes"], 2);
        let mut arrays = Table::new(&["array", "type", "shape", "bytes"], 1);
        for Part { name: part, bytes, crc32, arrays: held } in &newest.parts {
            parts.row([part.clone(), crc32.clone(), held.len().to_string(), bytes.to_string()]);
            for Array { name, dtype, shape, bytes } in held {
                arrays.row([
                    format!("{part}/{name}"),
                    dtype.clone(),
                    format!("{shape:?}"),
                    bytes.to_string(),
                ]);
            }
        }
        write!(f, "{parts}\n{arrays}")
    }
}
