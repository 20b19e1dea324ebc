//! Whether weights are fit to be gone on from.

use std::collections::BTreeSet;

use super::Snapshot;

/// Looks for weights that are no longer finite, so that they are not saved over those that are.
///
/// NaN is never saved. Infinity is, in an array that held some when the first checkpoint was written:
/// a mask of an attention layer, say.
#[derive(Debug, Default)]
pub(super) struct Finite {
    /// The arrays that held infinity in the first checkpoint.
    infinite: Option<BTreeSet<String>>,
}

impl Finite {
    /// An error that names an array of the parts called `weights` which cannot be saved.
    pub(super) fn check(&mut self, snapshot: &Snapshot, weights: &BTreeSet<String>) -> Result<(), String> {
        let mut infinite = BTreeSet::new();
        let parts = snapshot.parts.iter().filter(|(part, _)| weights.contains(*part));
        for (part, dict) in parts {
            for (name, array) in dict.iter().filter(|(_, array)| !array.is_finite()) {
                let name = format!("{part}/{name}");
                let known = self.infinite.as_ref().is_none_or(|known| known.contains(&name));
                if array.has_nan() || !known {
                    return Err(format!(
                        "the weights are not finite: `{name}`; the checkpoints before it stay as they are \
                         (`Checkpointer::allow_not_finite` saves it all the same)"
                    ));
                }
                infinite.insert(name);
            }
        }
        self.infinite.get_or_insert(infinite);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use regimen_core::{Array, StateDict};

    use super::*;

    fn snapshot(mask: f32, weight: f32) -> Snapshot {
        let mut dict = StateDict::new();
        dict.insert("mask", Array::from_slice(&[0.0, mask])).unwrap();
        dict.insert("weight", Array::from_slice(&[0.0, weight])).unwrap();
        Snapshot { parts: [("module".to_owned(), dict)].into(), ..Snapshot::default() }
    }

    #[test]
    fn nan_is_never_saved_and_infinity_only_where_it_was_from_the_first() {
        let weights: BTreeSet<String> = ["module".to_owned()].into();
        let text = |name: &str| {
            format!(
                "the weights are not finite: `module/{name}`; the checkpoints before it stay as they are \
                 (`Checkpointer::allow_not_finite` saves it all the same)"
            )
        };
        let mut finite = Finite::default();
        assert_eq!(finite.check(&snapshot(0.0, f32::NAN), &weights), Err(text("weight")));
        finite.check(&snapshot(f32::NEG_INFINITY, 1.0), &weights).unwrap();
        finite.check(&snapshot(f32::NEG_INFINITY, 2.0), &weights).unwrap();
        assert_eq!(finite.check(&snapshot(0.0, f32::INFINITY), &weights), Err(text("weight")));
        assert_eq!(finite.check(&snapshot(f32::NAN, 1.0), &weights), Err(text("mask")));
        finite.check(&snapshot(f32::NAN, f32::NAN), &BTreeSet::new()).unwrap();
    }
}
