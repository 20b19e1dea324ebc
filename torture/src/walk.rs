//! The trained unit, whose state after a step follows from the number of the step.

use std::collections::BTreeMap;

use regimen::saved::{AppState, StateDict, save_parts};
use regimen::unit::TrainUnit;
use regimen::{BoxError, State};

use crate::train::say;

/// Numbers per part. The two parts are 64 KiB of state, all of which changes at every step.
const NUMBERS: usize = 4096;

/// A sequence of numbers by exact arithmetic.
#[derive(AppState, Clone, Debug, PartialEq)]
pub(crate) struct Walk {
    weights: Vec<u64>,
    momentum: Vec<u64>,
    /// Additional time per step, in milliseconds.
    #[app_state(skip)]
    step_ms: u64,
}

impl Walk {
    /// Creates the unit before its first step, with steps of `step_ms` milliseconds.
    pub(crate) fn new(step_ms: u64) -> Self {
        let weights = (0..NUMBERS as u64).collect();
        Walk { weights, momentum: vec![1; NUMBERS], step_ms }
    }

    fn step(&mut self) {
        for (weight, momentum) in self.weights.iter_mut().zip(&mut self.momentum) {
            *momentum = momentum.rotate_left(7) ^ *weight;
            *weight = weight.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(*momentum);
        }
    }
}

impl TrainUnit for Walk {
    type Batch = u64;

    fn train_step(&mut self, state: &mut State, _: u64) -> Result<(), BoxError> {
        say(format_args!("step {} {}", state.train_progress().steps + 1, now()));
        std::thread::sleep(std::time::Duration::from_millis(self.step_ms));
        self.step();
        Ok(())
    }
}

/// Nanoseconds on the clock that all processes share.
pub(crate) fn now() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos())
}

/// The contents that a checkpoint of any step must have.
#[derive(Debug)]
pub(crate) struct Expected {
    step: u64,
    walk: Walk,
}

impl Expected {
    pub(crate) fn new() -> Self {
        Expected { step: 0, walk: Walk::new(0) }
    }

    /// The parts of the unit after `step` steps. Increasing steps are cheap.
    pub(crate) fn at(&mut self, step: u64) -> Result<BTreeMap<String, StateDict>, BoxError> {
        if step < self.step {
            *self = Expected::new();
        }
        while self.step < step {
            self.walk.step();
            self.step += 1;
        }
        save_parts(&mut self.walk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_a_state_of_its_own() {
        let mut expected = Expected::new();
        let [second, third] = [2, 3].map(|step| expected.at(step).unwrap());
        assert_ne!(second, third);
        assert_eq!(expected.at(2).unwrap(), second);
    }
}
