//! The time at which a process ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time at which this process will be ended, once it is known. Clones share it.
///
/// [`Preemption`](super::Preemption) sets it. A program with another source of notices makes one by `default`, and sets it
/// itself before it [pauses](regimen_core::state::PauseHandle) the run.
///
/// ```
/// use std::time::Duration;
///
/// use regimen::preemption::Deadline;
///
/// let deadline = Deadline::default();
/// assert_eq!(deadline.left(), None);
/// deadline.end_within(Duration::from_secs(120));
/// deadline.end_within(Duration::from_secs(600)); // the earlier time stays
/// assert!(deadline.left() <= Some(Duration::from_secs(120)));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Deadline(Arc<Mutex<Option<Instant>>>);

impl Deadline {
    /// The process ends so long from now, or at the time known before if that is earlier and not yet over.
    pub fn end_within(&self, left: Duration) {
        // A time that cannot be told never comes.
        let Some(end) = Instant::now().checked_add(left) else { return };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.filter(|before| *before > Instant::now());
        *known = Some(before.map_or(end, |before| before.min(end)));
    }

    /// The time left. `None` while no end is known, and once it is over: the process is still there, so the time was
    /// not right.
    pub fn left(&self) -> Option<Duration> {
        let end = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_end_that_is_not_over_counts() {
        let check = |ends: &[u64], hours: Option<u64>| {
            let deadline = Deadline::default();
            ends.iter().for_each(|end| deadline.end_within(Duration::from_secs(3600 * end)));
            let left = deadline.clone().left().map(|left| left.as_secs_f64().div_euclid(3599.0) as u64);
            assert_eq!(left, hours, "{ends:?}");
        };
        check(&[], None);
        check(&[3, 2, 5], Some(2));
        check(&[0], None);
        check(&[0, 4], Some(4));
        check(&[u64::MAX / 3600], None);
        check(&[u64::MAX / 3600, 1], Some(1));
    }
}
