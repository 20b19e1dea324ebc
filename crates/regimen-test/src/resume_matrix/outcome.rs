//! What a run has left behind, and in what it differs from another.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use regimen::checkpoint::{Checkpoints, Which};
use regimen_core::{Array, BoxError};

use super::fit::CHECKPOINTS;

/// All that is compared.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Logs, and what the parts of the run wrote down, by file name.
    files: BTreeMap<String, Vec<u8>>,
    /// The last checkpoint, by the names of a part and of an array of it.
    arrays: BTreeMap<String, Array>,
}

impl Outcome {
    /// What is in `dir`.
    pub(super) fn read(dir: &Path) -> Result<Outcome, BoxError> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
            }
        }
        let newest = Checkpoints::in_dir(dir.join(CHECKPOINTS)).load(Which::Newest)?;
        let mut arrays = BTreeMap::new();
        for (part, dict) in newest.ok_or("it left no checkpoint behind")?.content {
            arrays.extend(dict.iter().map(|(name, array)| (format!("{part}/{name}"), array.clone())));
        }
        Ok(Outcome { files, arrays })
    }

    /// An error that names all that is not, to the bit, as in `whole`.
    pub(super) fn check(&self, whole: &Outcome) -> Result<(), BoxError> {
        let mut wrong = differences(&self.files, &whole.files);
        wrong.extend(differences(&self.arrays, &whole.arrays));
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join(", ").into()) }
    }
}

/// What only one of the two has, and what they both have and differs.
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
