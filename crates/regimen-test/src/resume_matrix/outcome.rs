//! The outcome of a run, and its differences from another.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use regimen::checkpoint::{Checkpoints, Which};
use regimen_core::BoxError;
use regimen_core::saved::{Array, Dtype};

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

    /// Returns an error that lists every difference from `whole` that `cell` does not excuse. Numbers may differ by
    /// `tolerance` of themselves if the number of ranks does.
    pub(super) fn check(&self, whole: &Outcome, cell: &Cell, tolerance: f64) -> Result<(), BoxError> {
        let befalls = |what: &dyn Fn(Trouble) -> bool| cell.legs.iter().any(|leg| what(leg.trouble));
        let by_hand = befalls(&|trouble| matches!(trouble, Trouble::ByHand | Trouble::Predicts));
        let fails = befalls(&|t| t.fault().is_some() || matches!(t, Trouble::EndsEarlyAndFails(_)));
        let any_ranks = befalls(&|trouble| trouble == Trouble::AnyRanks);
        let callback_fails = befalls(&|trouble| matches!(trouble, Trouble::EndsEarlyAndFails(_)));
        let is_compared = |name: &str| {
            // Logs also record manual passes, whose position is saved apart from the run. A
            // callback that fails keeps the event from later ones, logs included. Those of steps
            // have the values of the share of rank 0.
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
            // The run ends within an epoch and a window, of which each rank has its share. The reason of the
            // final stop, a text with a number, is also in the file of epochs.
            let of_shares = ["ranks.", "gradients.", "window.weight", "metrics.values", "run.final_stop"];
            let of_shares = any_ranks && of_shares.iter().any(|part| name.contains(part));
            !((by_hand || callback_fails || any_ranks) && of_passes
                || fails && name == EPOCHS
                || of_times
                || of_shares)
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
        let same_text = |found: &Vec<u8>, expected: &Vec<u8>| {
            found == expected || any_ranks && texts_are_near(found, expected, tolerance)
        };
        let same_array = |found: &Array, expected: &Array| {
            found == expected || any_ranks && arrays_are_near(found, expected, tolerance)
        };
        let mut wrong = differences(&files(self), &files(whole), same_text);
        wrong.extend(differences(&arrays(self), &arrays(whole), same_array));
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
fn differences<V>(
    found: &BTreeMap<String, V>,
    expected: &BTreeMap<String, V>,
    are_near: impl Fn(&V, &V) -> bool,
) -> Vec<String> {
    let missing = expected.keys().filter(|name| !found.contains_key(*name));
    let missing = missing.map(|name| format!("{name} is missing"));
    let other = found.iter().filter_map(|(name, value)| match expected.get(name) {
        None => Some(format!("{name} is new")),
        Some(expected) => (!are_near(value, expected)).then(|| format!("{name} differs")),
    });
    missing.chain(other).collect()
}

/// Compares the words of two texts, of which some are numbers.
fn texts_are_near(found: &[u8], expected: &[u8], tolerance: f64) -> bool {
    let is_between = |c: char| !(c.is_ascii_alphanumeric() || ".+-".contains(c));
    let words = |text: &[u8]| -> Vec<String> {
        String::from_utf8_lossy(text).split_inclusive(is_between).map(str::to_owned).collect()
    };
    let number = |word: &str| word.trim_end_matches(is_between).parse::<f64>();
    let are_near = |(found, expected): (&String, &String)| match (number(found), number(expected)) {
        (Ok(found), Ok(expected)) => numbers_are_near(&[found], &[expected], tolerance),
        _ => found == expected,
    };
    let (words_found, words_expected) = (words(found), words(expected));
    words_found.len() == words_expected.len() && words_found.iter().zip(&words_expected).all(are_near)
}

/// Compares two arrays, of which those of floats may differ by `tolerance` of their greatest number.
fn arrays_are_near(found: &Array, expected: &Array, tolerance: f64) -> bool {
    let numbers = |array: &Array| match array.dtype() {
        Dtype::F32 => array.to_vec::<f32>().map(|numbers| numbers.into_iter().map(f64::from).collect()),
        _ => array.to_vec::<f64>(),
    };
    let is_alike = found.dtype() == expected.dtype() && found.shape() == expected.shape();
    match (numbers(found), numbers(expected)) {
        (Ok(found), Ok(expected)) => is_alike && numbers_are_near(&found, &expected, tolerance),
        _ => false,
    }
}

fn numbers_are_near(found: &[f64], expected: &[f64], tolerance: f64) -> bool {
    let finite = expected.iter().filter(|number| number.is_finite());
    let greatest = finite.fold(0.0_f64, |greatest, number| greatest.max(number.abs()));
    let are_near = |(found, expected): (&f64, &f64)| {
        found == expected || (found - expected).abs() <= tolerance * greatest
    };
    found.len() == expected.len() && found.iter().zip(expected).all(are_near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_differs_is_named() {
        let map = |entries: &[(&str, u8)]| entries.iter().map(|(name, n)| (name.to_string(), *n)).collect();
        let check = |found, expected: &[&str]| {
            assert_eq!(differences(&map(found), &map(&[("a", 1), ("b", 2)]), u8::eq), expected);
        };
        check(&[("a", 1), ("b", 2)], &[]);
        check(&[("a", 1), ("b", 3)], &["b differs"]);
        check(&[("b", 2)], &["a is missing"]);
        check(&[("a", 1), ("b", 2), ("c", 3)], &["c is new"]);
    }

    #[test]
    fn numbers_of_a_text_may_be_near_and_its_words_may_not() {
        let are_near = |found: &str| texts_are_near(found.as_bytes(), b"loss: (2.0, 3), of 7\n", 0.1);
        assert!(are_near("loss: (2.0, 3), of 7\n") && are_near("loss: (1.9, 3), of 7\n"));
        for wrong in [
            "loss: (2.3, 3), of 7\n",
            "less: (2.0, 3), of 7\n",
            "loss: (2.0, 3), of 7\nloss",
            "loss: (NaN, 3), of 7\n",
        ] {
            assert!(!are_near(wrong), "{wrong}");
        }
    }

    #[test]
    fn only_floats_of_an_array_may_be_near() {
        let numbers = |values: &[f64]| Array::from_slice(values);
        assert!(arrays_are_near(&numbers(&[1.0, 0.05]), &numbers(&[1.0, 0.0]), 0.1));
        assert!(!arrays_are_near(&numbers(&[1.0, 0.15]), &numbers(&[1.0, 0.0]), 0.1));
        assert!(!arrays_are_near(&numbers(&[1.0]), &numbers(&[1.0, 0.0]), 0.1));
        let infinite = numbers(&[f64::INFINITY, 1.0]);
        assert!(arrays_are_near(&infinite, &infinite, 0.1));
        assert!(!arrays_are_near(&numbers(&[2.0, 1.0]), &infinite, 0.1));
        assert!(!arrays_are_near(&numbers(&[f64::INFINITY, 2.0]), &infinite, 0.1));
        assert!(!arrays_are_near(&Array::from_slice(&[101_u64]), &Array::from_slice(&[100_u64]), 0.1));
    }
}
