//! Linear warm-up before another schedule.

use super::Schedule;

/// Adaptor methods of every schedule.
pub trait ScheduleExt: Schedule + Sized {
    /// Adds a linear warm-up of `length` counts before this schedule, which counts from the end of
    /// the warm-up. A length of 0 changes nothing.
    fn warm_up(self, length: u64) -> WarmUp<Self> {
        WarmUp { schedule: self, length }
    }
}

impl<S: Schedule> ScheduleExt for S {}

/// A linear warm-up to the first rate of another schedule, then that schedule:
/// `schedule(0) * (t + 1) / (length + 1)` below `length`, `schedule(t - length)` from there.
///
/// The first update has a rate above 0, so it is not wasted, and the rate is continuous at the end.
/// In PyTorch: `SequentialLR` of `LinearLR(start_factor = 1 / (length + 1), total_iters = length)`
/// and the other schedule, with the milestone at `length`.
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
