//! Retention: which checkpoints are kept, as a pure function of their manifests.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeSet;

use crate::checkpoint::{Goal, Manifest};

/// The retention rules of a run directory. By default every checkpoint is kept.
///
/// A checkpoint is kept if any rule asks for it, and the newest always is. The rules see the newest
/// save of each step: if a step was saved again, the earlier save is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    last: Option<usize>,
    best: Vec<(usize, String, Goal)>,
    every: Option<u64>,
}

impl Keep {
    /// Keeps all.
    pub fn all() -> Self {
        Keep::default()
    }

    /// Keeps the `count` saved last. 0 is 1, as the newest is always kept.
    pub fn last(mut self, count: usize) -> Self {
        self.last = Some(count);
        self
    }

    /// Keeps the `count` with the best values of `metric`; may be asked for several metrics.
    ///
    /// Of equal values the one saved first is the better. A value that is not finite, and one
    /// that is missing, is never among the best.
    pub fn best(mut self, count: usize, metric: impl Into<String>, goal: Goal) -> Self {
        self.best.push((count, metric.into(), goal));
        self
    }

    /// Keeps every step that is a multiple of `steps` for ever. 0 keeps none.
    pub fn every_steps(mut self, steps: u64) -> Self {
        self.every = Some(steps);
        self
    }

    /// The indices of those to remove, of all that one run has on disk, in any order.
    ///
    /// Of those that are not resumable the newest is kept, or all if there are no rules.
    pub fn surplus(&self, saved: &[&Manifest]) -> Vec<usize> {
        let mut newest_first: Vec<usize> = (0..saved.len()).collect();
        newest_first.sort_by_key(|&i| Reverse((saved[i].save, i)));
        let mut seen = BTreeSet::new();
        let is_first_of_its_step = |&i: &usize| seen.insert((saved[i].step, saved[i].resumable));
        let (current, mut surplus): (Vec<_>, Vec<_>) =
            newest_first.into_iter().partition(is_first_of_its_step);
        if *self != Keep::all() {
            let (resumable, post_mortem): (Vec<_>, Vec<_>) =
                current.into_iter().partition(|&i| saved[i].resumable);
            surplus.extend(post_mortem.into_iter().skip(1));
            let mut kept = self.best_of(&resumable, saved);
            kept.extend(resumable.iter().take(self.last.unwrap_or(1).max(1)));
            kept.extend(resumable.iter().filter(|&&i| self.is_for_ever(saved[i])));
            surplus.extend(resumable.into_iter().filter(|i| !kept.contains(i)));
        }
        surplus.sort_unstable();
        surplus
    }

    fn best_of(&self, resumable: &[usize], saved: &[&Manifest]) -> BTreeSet<usize> {
        let mut best = BTreeSet::new();
        for (count, metric, goal) in &self.best {
            let measured = resumable.iter().copied().filter(|&i| value(saved[i], metric).is_some());
            let mut measured: Vec<usize> = measured.collect();
            measured.sort_by(|&a, &b| compare(*goal, saved[a], saved[b], metric));
            best.extend(measured.into_iter().take(*count));
        }
        best
    }

    fn is_for_ever(&self, manifest: &Manifest) -> bool {
        self.every.is_some_and(|steps| steps != 0 && manifest.step.is_multiple_of(steps))
    }
}

/// The value of `metric`, if there is one that can be among the best.
pub(crate) fn value(manifest: &Manifest, metric: &str) -> Option<f64> {
    manifest.metrics.get(metric).copied().filter(|value| value.is_finite())
}

/// Orders the better one first, and of equal ones the one saved first.
pub(crate) fn compare(goal: Goal, a: &Manifest, b: &Manifest, metric: &str) -> Ordering {
    let (of_a, of_b) = (value(a, metric), value(b, metric));
    let by_value = match goal {
        Goal::Min => of_a.partial_cmp(&of_b),
        Goal::Max => of_b.partial_cmp(&of_a),
    };
    by_value.unwrap_or(Ordering::Equal).then(a.save.cmp(&b.save))
}
