//! How often something is done.

use crate::{Error, Progress};

/// A cadence: every n completed steps, updates or epochs, or any of them.
///
/// It counts totals, not steps within an epoch. A cadence of zero is an error, returned when the
/// run starts.
///
/// ```
/// use regimen_core::Every;
/// let _ = Every::steps(500).or(Every::epochs(1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Every {
    pub(crate) steps: Option<u64>,
    pub(crate) updates: Option<u64>,
    pub(crate) epochs: Option<u64>,
}

impl Every {
    /// Never.
    pub const NEVER: Every = Every { steps: None, updates: None, epochs: None };

    /// Whenever the number of completed steps is a multiple of `n`.
    pub const fn steps(n: u64) -> Self {
        Every { steps: Some(n), ..Every::NEVER }
    }

    /// Whenever the number of optimizer steps has become a multiple of `n`.
    pub const fn updates(n: u64) -> Self {
        Every { updates: Some(n), ..Every::NEVER }
    }

    /// Whenever the number of completed epochs is a multiple of `n`.
    pub const fn epochs(n: u64) -> Self {
        Every { epochs: Some(n), ..Every::NEVER }
    }

    /// Whenever this one or `other` is due. Where both count the same thing, `other`'s number is
    /// taken.
    pub const fn or(self, other: Every) -> Self {
        const fn either(a: Option<u64>, b: Option<u64>) -> Option<u64> {
            if b.is_some() { b } else { a }
        }
        Every {
            steps: either(self.steps, other.steps),
            updates: either(self.updates, other.updates),
            epochs: either(self.epochs, other.epochs),
        }
    }

    /// Whether it is due after a step that took a phase from `before` to `after`.
    pub fn due_after_step(self, before: Progress, after: Progress) -> bool {
        let reached = |n: Option<u64>, before: u64, after: u64| match n {
            Some(n) if before != after => after.checked_rem(n) == Some(0),
            _ => false,
        };
        reached(self.steps, before.steps, after.steps) || reached(self.updates, before.updates, after.updates)
    }

    /// Whether it is due at the end of an epoch, when `progress` already counts it.
    pub fn due_after_epoch(self, progress: Progress) -> bool {
        self.epochs.is_some_and(|n| progress.epochs.checked_rem(n) == Some(0))
    }

    /// Refuses a cadence of zero; `what` names the setting.
    pub fn check(self, what: &str) -> Result<(), Error> {
        if [self.steps, self.updates, self.epochs].contains(&Some(0)) {
            return Err(Error::config(format!("{what}: a cadence of 0 is never due; give 1 or more")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which of the steps 1 to 12 `every` is due, where every third step makes an update.
    fn due(every: Every) -> Vec<u64> {
        let at = |steps| Progress { steps, updates: steps / 3, ..Progress::default() };
        (1..=12).filter(|&step| every.due_after_step(at(step - 1), at(step))).collect()
    }

    #[test]
    fn a_cadence_is_due_when_its_count_becomes_a_multiple() {
        assert_eq!(due(Every::steps(5)), [5, 10]);
        assert_eq!(due(Every::updates(2)), [6, 12]);
        assert_eq!(due(Every::steps(5).or(Every::updates(2))), [5, 6, 10, 12]);
        assert!(due(Every::epochs(1)).is_empty());
        assert!(due(Every::NEVER).is_empty());
        assert!(due(Every::steps(0)).is_empty());
    }

    #[test]
    fn a_cadence_of_zero_is_refused_by_the_name_of_its_setting() {
        assert!(Every::steps(1).or(Every::epochs(3)).check("x").is_ok());
        for every in [Every::steps(0), Every::updates(0), Every::epochs(0)] {
            assert!(every.check("`save_every`").unwrap_err().to_string().starts_with("`save_every`: "));
        }
    }
}
