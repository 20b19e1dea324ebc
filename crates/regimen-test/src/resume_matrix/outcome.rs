//! The outcome of a run, and its differences from another.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use regimen::checkpoint::{Checkpoints, Which};
use regimen_core::BoxError;
use regimen_core::saved::Array;

use super::fit::{CHECKPOINTS, EPOCHS, EVENTS, ORDER};
use super::{Cell, Trouble};
use crate::event_files::{read_events, scalars};
use crate::wandb_file::read_wandb_file;

/// The compared outcome.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Logs and records of the parts of the run, by file name.
    files: BTreeMap<String, Vec<u8>>,
    /// The arrays of the last checkpoint, by `part/array`.
    arrays: BTreeMap<String, Array>,
}

impl Outcome {
    /// Reads the outcome in `dir`.
    pub(super) fn read(dir: &Path) -> Result<Outcome, BoxError> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
            }
        }
        // Each start has a file, so the points in them are compared.
        let points = format!("{:?}", scalars(&read_events(dir.join(EVENTS))?));
        files.insert("metrics.events".to_owned(), points.into_bytes());
        files.insert("metrics.wandb".to_owned(), wandb_records(&dir.join("wandb"))?.into_bytes());
        let newest = Checkpoints::in_dir(dir.join(CHECKPOINTS)).load(Which::Latest)?;
        let mut arrays = BTreeMap::new();
        for (part, dict) in newest.ok_or("it left no checkpoint")?.content {
            arrays.extend(dict.iter().map(|(name, array)| (format!("{part}/{name}"), array.clone())));
        }
        Ok(Outcome { files, arrays })
    }

    /// Returns an error that lists every difference from `whole` that `cell` does not excuse.
    pub(super) fn check(&self, whole: &Outcome, cell: &Cell) -> Result<(), BoxError> {
        let befalls = |what: &dyn Fn(Trouble) -> bool| cell.legs.iter().any(|leg| what(leg.trouble));
        let by_hand = befalls(&|trouble| matches!(trouble, Trouble::ByHand | Trouble::Predicts));
        let fails = befalls(&|t| t.fault().is_some() || matches!(t, Trouble::EndsEarlyAndFails(_)));
        let callback_fails = befalls(&|trouble| matches!(trouble, Trouble::EndsEarlyAndFails(_)));
        let is_compared = |name: &str| {
            // Logs also record manual passes, whose position is saved apart from the run. A
            // callback that fails keeps the event from later ones, logs included.
            let of_passes = name.starts_with("metrics.")
                || name.contains("callbacks.MetricLog")
                || name.starts_with("run/run.evaluate")
                || name.starts_with("run/run.predict");
            // A failed call has no report of the epochs that ended in it.
            // The state of the event files has their names, which are times; that of W&B has times and, with
            // their digits, the length of a file.
            let of_times = name.contains("callbacks.TensorBoard")
                || name.contains("callbacks.MetricLog(wandb).state.")
                    && !name.ends_with(".records")
                    && !name.ends_with(".history");
            !((by_hand || callback_fails) && of_passes || fails && name == EPOCHS || of_times)
        };
        let kept = |name: &String| is_compared(name);
        let files = |outcome: &Outcome| {
            let mut files: BTreeMap<_, _> =
                outcome.files.clone().into_iter().filter(|(name, _)| kept(name)).collect();
            if let Some(order) = files.get_mut(ORDER).filter(|_| fails) {
                *order = once_each(order);
            }
            files
        };
        let arrays = |outcome: &Outcome| -> BTreeMap<_, _> {
            outcome.arrays.clone().into_iter().filter(|(name, _)| kept(name)).collect()
        };
        let mut wrong = differences(&files(self), &files(whole));
        wrong.extend(differences(&arrays(self), &arrays(whole)));
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join(", ").into()) }
    }
}

/// The records of every run in `folder`, a line each.
fn wandb_records(folder: &Path) -> Result<String, BoxError> {
    let mut lines = Vec::new();
    for run in fs::read_dir(folder)? {
        for file in fs::read_dir(run?.path())? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "wandb") {
                lines.extend(read_wandb_file(path)?);
            }
        }
    }
    Ok(lines.join("\n"))
}

/// Removes repeated lines of `text`: a failed step runs again.
fn once_each(text: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.concat()
}

/// Entries that only one of the two has, or whose values differ.
fn differences<V: PartialEq>(found: &BTreeMap<String, V>, expected: &BTreeMap<String, V>) -> Vec<String> {
    let missing = expected.keys().filter(|name| !found.contains_key(*name));
    let missing = missing.map(|name| format!("{name} is missing"));
    let other = found.iter().filter_map(|(name, value)| match expected.get(name) {
        None => Some(format!("{name} is new")),
        Some(expected) => (value != expected).then(|| format!("{name} differs")),
    });
    missing.chain(other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_differs_is_named() {
        let map = |entries: &[(&str, u8)]| entries.iter().map(|(name, n)| (name.to_string(), *n)).collect();
        let check = |found, expected: &[&str]| {
            assert_eq!(differences(&map(found), &map(&[("a", 1), ("b", 2)])), expected);
        };
        check(&[("a", 1), ("b", 2)], &[]);
        check(&[("a", 1), ("b", 3)], &["b differs"]);
        check(&[("b", 2)], &["a is missing"]);
        check(&[("a", 1), ("b", 2), ("c", 3)], &["c is new"]);
    }
}
