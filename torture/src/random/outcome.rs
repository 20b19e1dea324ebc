//! The outcome of a case, and its differences from another.

use std::collections::BTreeMap;
use std::fmt::Debug;

use regimen::saved::{Array, StateDict};

use super::world::Seen;

/// The keys of the run's state that are compared. The others belong to manual passes.
const OF_THE_RUN: [&str; 7] =
    ["run.train.", "run.eval.", "run.cycle", "run.eval_due", "run.final_stop", "run.seed", "callbacks."];

/// The compared state.
#[derive(Debug)]
pub(super) struct Outcome {
    arrays: BTreeMap<String, Array>,
    seen: Seen,
    ended: String,
}

impl Outcome {
    pub(super) fn new(
        parts: BTreeMap<String, StateDict>,
        run: StateDict,
        seen: Seen,
        ended: String,
    ) -> Result<Self, String> {
        let mut arrays = BTreeMap::new();
        for (part, dict) in parts {
            arrays.extend(dict.into_iter().map(|(name, array)| (format!("{part}/{name}"), array)));
        }
        for (name, array) in run {
            if OF_THE_RUN.iter().any(|prefix| name.starts_with(prefix)) {
                arrays.insert(name, array);
            }
        }
        for name in ["run.train.progress.steps", "run.eval.progress.steps", "run.cycle", "run.eval_due"] {
            if !arrays.contains_key(name) {
                return Err(format!("`{name}` is no longer saved: update the list of compared keys"));
            }
        }
        Ok(Outcome { arrays, seen, ended })
    }

    /// Returns an error that lists every difference from `whole`, bit by bit.
    pub(super) fn check(&self, whole: &Outcome) -> Result<(), String> {
        let mut wrong = differences(&self.arrays, &whole.arrays);
        wrong.extend(differences(&self.seen.losses, &whole.seen.losses));
        wrong.extend(differences(&self.seen.epochs, &whole.seen.epochs));
        if self.seen.cycles != whole.seen.cycles {
            wrong.push(format!("cycles are {:?}, not {:?}", self.seen.cycles, whole.seen.cycles));
        }
        if self.ended != whole.ended {
            wrong.push(format!("it ended with {}, not {}", self.ended, whole.ended));
        }
        let all = wrong.len();
        if all == 0 {
            return Ok(());
        }
        wrong.truncate(8);
        Err(format!("{all} differences: {}", wrong.join(", ")))
    }
}

/// Entries that only one of the two has, or whose values differ.
fn differences<K: Ord + Debug, V: PartialEq>(
    found: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
) -> Vec<String> {
    let missing = expected.keys().filter(|name| !found.contains_key(name));
    let missing = missing.map(|name| format!("{name:?} is missing"));
    let other = found.iter().filter_map(|(name, value)| match expected.get(name) {
        None => Some(format!("{name:?} is new")),
        Some(expected) => (value != expected).then(|| format!("{name:?} differs")),
    });
    missing.chain(other).collect()
}
