//! The trait of learning-rate schedules; the schedules are in `regimen::schedule`.

/// A learning rate, or a momentum, as a pure function of the progress of training.
///
/// There is no state: a resumed run computes the rate it would have had. A number is a schedule
/// that is constant; a closure `Fn(u64) -> f64` is one too.
pub trait Schedule: Send {
    /// The rate when `count` updates, or epochs, are complete: 0 for the first.
    fn rate(&self, count: u64) -> f64;
}

impl Schedule for f64 {
    fn rate(&self, _count: u64) -> f64 {
        *self
    }
}

impl<F: Fn(u64) -> f64 + Send> Schedule for F {
    fn rate(&self, count: u64) -> f64 {
        self(count)
    }
}

/// A unit with learning rates that a monitor can read.
pub trait LearningRates {
    /// The rate of each parameter group for the next update, by the group's name.
    fn learning_rates(&self) -> Vec<(String, f64)>;

    /// The momentum of the next update, if a schedule sets it. `None` by default.
    fn scheduled_momentum(&self) -> Option<f64> {
        None
    }
}
