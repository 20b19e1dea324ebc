//! A linear warm-up before any other schedule.

use super::Schedule;

/// What every schedule can be made into.
pub trait ScheduleExt: Schedule + Sized {
    /// Puts a linear warm-up of `length` counts before this schedule, which then counts from the
    /// warm-up's end. A length of 0 changes nothing.
    fn warm_up(self, length: u64) -> WarmUp<Self> {
        WarmUp { schedule: self, length }
    }
}

impl<S: Schedule> ScheduleExt for S {}

/// Rises to the first rate of another schedule, then is that schedule:
/// `schedule(0) * (t + 1) / (length + 1)` below `length`, `schedule(t - length)` from there on.
///
/// The first update has a rate above 0, so it is not wasted, and there is no jump at the end.
/// In PyTorch: `SequentialLR` of `LinearLR(start_factor = 1 / (length + 1), total_iters = length)`
/// and the other, with the milestone at `length`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WarmUp<S> {
    schedule: S,
    length: u64,
}

impl<S: Schedule> Schedule for WarmUp<S> {
    fn rate(&self, count: u64) -> f64 {
        match count.checked_sub(self.length) {
            Some(rest) => self.schedule.rate(rest),
            None => self.schedule.rate(0) * (count + 1) as f64 / (self.length as f64 + 1.0),
        }
    }
}
