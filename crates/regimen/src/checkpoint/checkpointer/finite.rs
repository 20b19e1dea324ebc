//! The check that weights are finite.

use std::collections::BTreeSet;
use std::sync::Arc;

use regimen_core::error::NotFinite;

use crate::checkpoint::Snapshot;
use crate::checkpoint::format::piece::part_of;

/// The arrays that must be finite to be saved, so that weights which are not never replace those that were.
///
/// NaN is never saved. Infinity is, in an array that held some when the run began: a mask of an
/// attention layer, say.
#[derive(Debug)]
pub(super) struct Finite {
    /// The parts that hold weights.
    pub(super) weights: BTreeSet<String>,
    /// The arrays that held infinity when the run began.
    pub(super) infinite: Arc<BTreeSet<String>>,
}

impl Finite {
    /// An error that names an array which cannot be saved. It is of the last step before the snapshot.
    pub(super) fn check(&self, snapshot: &Snapshot) -> Result<(), NotFinite> {
        let parts = snapshot.parts.iter().filter(|(part, _)| self.weights.contains(part_of(part)));
        for (part, dict) in parts {
            for (name, array) in dict.iter().filter(|(_, array)| !array.is_finite()) {
                let name = format!("{}/{name}", part_of(part));
                if array.has_nan() || !self.infinite.contains(&name) {
                    let text = format!(
                        "the weights are not finite: `{name}`; the checkpoints before it stay as they are \
                         (`Checkpointer::allow_not_finite` saves it all the same)"
                    );
                    return Err(NotFinite::new(text).of_step(snapshot.step.saturating_sub(1)));
                }
            }
        }
        Ok(())
    }
}

/// The arrays that hold infinity.
pub(super) fn infinite(snapshot: &Snapshot) -> BTreeSet<String> {
    let arrays = snapshot.parts.iter().flat_map(|(part, dict)| dict.iter().map(move |array| (part, array)));
    let infinite = arrays.filter(|(_, (_, array))| !array.is_finite());
    infinite.map(|(part, (name, _))| format!("{part}/{name}")).collect()
}

#[cfg(test)]
mod tests {
    use regimen_core::saved::{Array, StateDict};

    use super::*;

    fn snapshot(mask: f32, weight: f32) -> Snapshot {
        let mut dict = StateDict::new();
        dict.insert("mask", Array::from_slice(&[0.0, mask])).unwrap();
        dict.insert("weight", Array::from_slice(&[0.0, weight])).unwrap();
        Snapshot { step: 4, parts: [("module".to_owned(), dict)].into(), ..Snapshot::default() }
    }

    #[test]
    fn nan_is_never_saved_and_infinity_only_where_it_was_from_the_first() {
        let error = |name: &str| {
            let text = format!(
                "the weights are not finite: `module/{name}`; the checkpoints before it stay as they are \
                 (`Checkpointer::allow_not_finite` saves it all the same)"
            );
            Err(NotFinite::new(text).of_step(3))
        };
        let infinite = Arc::new(infinite(&snapshot(f32::NEG_INFINITY, 1.0)));
        let finite = Finite { weights: ["module".to_owned()].into(), infinite };
        assert_eq!(finite.check(&snapshot(f32::NEG_INFINITY, 2.0)), Ok(()));
        assert_eq!(finite.check(&snapshot(0.0, f32::NAN)), error("weight"));
        assert_eq!(finite.check(&snapshot(0.0, f32::INFINITY)), error("weight"));
        assert_eq!(finite.check(&snapshot(f32::NAN, 1.0)), error("mask"));
        let nothing = Finite { weights: BTreeSet::new(), infinite: Arc::default() };
        assert_eq!(nothing.check(&snapshot(f32::NAN, f32::NAN)), Ok(()));
    }
}
