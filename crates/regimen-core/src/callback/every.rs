//! Cadences by completed steps, updates or epochs.

use std::fmt;

use crate::Error;
use crate::state::Progress;
use crate::text::Count;

/// A cadence: every n completed steps, updates or epochs, or any of them.
///
/// It counts totals, not steps within an epoch. A cadence of zero is an error, returned when the
/// run starts.
///
/// ```
/// use regimen_core::callback::Every;
/// let _ = Every::steps(500).or(Every::epochs(1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Every {
    pub(crate) steps: Option<u64>,
    pub(crate) updates: Option<u64>,
    pub(crate) epochs: Option<u64>,
    /// Two numbers of one kind were given, and neither is a multiple of the other.
    clash: bool,
}

impl Every {
    /// Never.
    pub const NEVER: Every = Every { steps: None, updates: None, epochs: None, clash: false };

    /// Due when the number of completed steps is a multiple of `n`.
    pub const fn steps(n: u64) -> Self {
        Every { steps: Some(n), ..Every::NEVER }
    }

    /// Due when the number of optimizer steps has become a multiple of `n`.
    pub const fn updates(n: u64) -> Self {
        Every { updates: Some(n), ..Every::NEVER }
    }

    /// Due when the number of completed epochs is a multiple of `n`.
    pub const fn epochs(n: u64) -> Self {
        Every { epochs: Some(n), ..Every::NEVER }
    }

    /// Due when `self` or `other` is due. If both count the same thing and neither number is a
    /// multiple of the other, the cadence is an error when the run starts.
    pub const fn or(self, other: Every) -> Self {
        /// The number that covers both, and whether there is none.
        const fn either(a: Option<u64>, b: Option<u64>) -> (Option<u64>, bool) {
            match (a, b) {
                (Some(0), _) | (_, Some(0)) => (Some(0), false),
                (Some(a), Some(b)) if a.is_multiple_of(b) => (Some(b), false),
                (Some(a), Some(b)) => (Some(a), !b.is_multiple_of(a)),
                (None, n) | (n, None) => (n, false),
            }
        }
        let (steps, a) = either(self.steps, other.steps);
        let (updates, b) = either(self.updates, other.updates);
        let (epochs, c) = either(self.epochs, other.epochs);
        Every { steps, updates, epochs, clash: self.clash || other.clash || a || b || c }
    }

    /// Whether one of the counts became or passed a multiple between `before` and `after`. Callbacks
    /// ask [`State::is_due`](crate::State::is_due).
    pub fn is_due(self, before: Progress, after: Progress) -> bool {
        let passed = |n: Option<u64>, before: u64, after: u64| {
            n.is_some_and(|n| before.checked_div(n) < after.checked_div(n))
        };
        passed(self.steps, before.steps, after.steps)
            || passed(self.updates, before.updates, after.updates)
            || passed(self.epochs, before.epochs, after.epochs)
    }

    /// Whether one of the counts is a multiple.
    pub(crate) fn divides(self, progress: Progress) -> bool {
        let counts =
            [(self.steps, progress.steps), (self.updates, progress.updates), (self.epochs, progress.epochs)];
        counts.into_iter().any(|(n, count)| n.is_some_and(|n| count.is_multiple_of(n)))
    }

    /// Refuses a cadence of zero, and two numbers of one kind; `what` names the setting.
    pub fn check(self, what: &str) -> Result<(), Error> {
        if self.clash {
            return Err(Error::config(format!(
                "{what}: two cadences count the same thing, and neither is a multiple of the other; give one"
            )));
        }
        if [self.steps, self.updates, self.epochs].contains(&Some(0)) {
            return Err(Error::config(format!("{what}: a cadence of 0 is never due; give 1 or more")));
        }
        Ok(())
    }
}

/// `every 500 steps or 1 epoch`, or `never`.
impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [(self.steps, "step"), (self.updates, "update"), (self.epochs, "epoch")];
        let mut between = "every ";
        for (n, what) in kinds.into_iter().filter_map(|(n, what)| Some((n?, what))) {
            write!(f, "{between}{}", Count(n, what))?;
            between = " or ";
        }
        if *self == Every::NEVER { f.write_str("never") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps of 1 to 12 at which `every` is due, if every third step makes an update and every
    /// fourth ends an epoch.
    fn due(every: Every) -> Vec<u64> {
        let at = |steps| Progress { steps, updates: steps / 3, epochs: steps / 4, ..Progress::default() };
        (1..=12).filter(|&step| every.is_due(at(step - 1), at(step))).collect()
    }

    #[test]
    fn a_cadence_is_due_when_its_count_becomes_a_multiple() {
        assert_eq!(due(Every::steps(5)), [5, 10]);
        assert_eq!(due(Every::updates(2)), [6, 12]);
        assert_eq!(due(Every::steps(5).or(Every::updates(2))), [5, 6, 10, 12]);
        assert_eq!(due(Every::epochs(2)), [8]);
        assert_eq!(due(Every::epochs(1).or(Every::updates(3))), [4, 8, 9, 12]);
        assert!(due(Every::NEVER).is_empty());
        assert!(due(Every::steps(0)).is_empty());
    }

    #[test]
    fn a_cadence_is_due_where_one_step_passes_its_multiple() {
        let at = |updates| Progress { updates, ..Progress::default() };
        let every = Every::updates(10);
        let due: Vec<u64> = (1..40).step_by(2).filter(|&n| every.is_due(at(n), at(n + 2))).collect();
        assert_eq!(due, [9, 19, 29, 39]);
        assert!(every.is_due(at(5), at(35)) && !every.is_due(at(10), at(19)));
    }

    #[test]
    fn two_cadences_of_one_kind_are_both_kept_or_refused() {
        assert_eq!(Every::steps(5).or(Every::steps(10)), Every::steps(5));
        assert_eq!(Every::epochs(4).or(Every::epochs(2)), Every::epochs(2));
        let text = "`x`: two cadences count the same thing, and neither is a multiple of the other; give one";
        for clash in [
            Every::steps(4).or(Every::steps(6)),
            Every::updates(4).or(Every::updates(6)).or(Every::steps(1)),
            Every::steps(1).or(Every::epochs(4).or(Every::epochs(6))),
        ] {
            assert_eq!(clash.check("`x`").unwrap_err().to_string(), text);
        }
        assert!(Every::steps(0).or(Every::steps(4)).check("`x`").is_err());
    }

    #[test]
    fn a_cadence_of_zero_is_refused_by_the_name_of_its_setting() {
        assert!(Every::steps(1).or(Every::epochs(3)).check("x").is_ok());
        for every in [Every::steps(0), Every::updates(0), Every::epochs(0)] {
            assert!(every.check("`save_every`").unwrap_err().to_string().starts_with("`save_every`: "));
        }
    }
}
