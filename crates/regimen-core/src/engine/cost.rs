//! The cost of training a module, layer by layer.

use core::time::Duration;
use std::ops::AddAssign;

/// The cost of a layer in training, as an engine has [measured](super::Engine::measure) it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// The path of the layer in the module: `blocks.0.linear`. Empty for the module itself.
    pub layer: String,
    /// The shape of its last output; `None` if unknown.
    pub output: Option<Vec<usize>>,
    /// The forward pass.
    pub forward: Work,
    /// The backward pass.
    pub backward: Work,
}

/// Operations and their time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Multiply-accumulates of matrix products and convolutions; `None` if unknown.
    pub flops: Option<u64>,
    /// Time in operations.
    pub time: Duration,
}

impl AddAssign for Work {
    /// An unknown number adds nothing to a known one.
    fn add_assign(&mut self, other: Work) {
        self.flops = match (self.flops, other.flops) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        self.time = self.time.saturating_add(other.time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_number_adds_nothing_to_a_known_one() {
        let work = |flops, time| Work { flops, time: Duration::from_millis(time) };
        let check = |mut one: Work, other, sum| {
            one += other;
            assert_eq!(one, sum);
        };
        check(work(None, 1), work(None, 2), work(None, 3));
        check(work(Some(5), 1), work(None, 2), work(Some(5), 3));
        check(work(None, 1), work(Some(5), 2), work(Some(5), 3));
        check(work(Some(5), 1), work(Some(6), 2), work(Some(11), 3));
        check(work(Some(u64::MAX), 0), work(Some(1), 0), work(Some(u64::MAX), 0));
    }
}
