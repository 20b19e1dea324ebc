//! The accumulation window: the steps whose gradients make one update.

use crate::{BoxError, StateDict, Stateful};

/// How much of a window is done. The gradients themselves are held by the engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    steps: u64,
    weight: f64,
    /// What weights are measured in: 1, or where losses are scaled that of the first step, so that
    /// it is the scale alone which decides whether a gradient overflows.
    unit: f64,
    /// A loss in it was not finite, and the policy is to skip its update.
    spoilt: bool,
    /// A step has touched the held gradients and has not come to its end: if it never does,
    /// because of an error or a panic, the window cannot be used.
    torn: bool,
}

impl Default for Window {
    fn default() -> Self {
        Window { steps: 0, weight: 0.0, unit: 1.0, spoilt: false, torn: false }
    }
}

impl Window {
    /// By what to multiply the gradients of a step of `weight`, with the scale of losses. In a
    /// window of one step there is nothing to weigh against, so only the scale is left.
    pub(super) fn backward_factor(&self, size: u64, weight: f64, scale: Option<f64>) -> Option<f64> {
        product((size != 1).then(|| weight / self.unit), scale)
    }

    /// By what to multiply the held gradients to make them those of the mean over the window; 0
    /// where nothing in it has weight.
    pub(super) fn factor(&self, size: u64, scale: Option<f64>) -> Option<f64> {
        let mean = (size != 1).then(|| if self.weight == 0.0 { 0.0 } else { self.unit / self.weight });
        product(mean, scale.map(f64::recip))
    }

    /// A step of `weight` is about to touch the held gradients.
    pub(super) fn begin(&mut self, weight: f64, scale: Option<f64>) {
        self.torn = true;
        if self.steps == 0 && scale.is_some() && weight > 0.0 {
            self.unit = weight;
        }
    }

    /// That step came to its end.
    pub(super) fn end(&mut self) {
        self.torn = false;
    }

    /// Whether a step that touched the held gradients never came to its end.
    pub(super) fn is_torn(&self) -> bool {
        self.torn
    }

    pub(super) fn add(&mut self, weight: f64) {
        self.steps += 1;
        self.weight += weight;
    }

    pub(super) fn is_full(&self, size: u64) -> bool {
        size <= self.steps
    }

    pub(super) fn spoil(&mut self) {
        self.spoilt = true;
    }

    pub(super) fn is_spoilt(&self) -> bool {
        self.spoilt
    }
}

/// The product of those that there are.
fn product(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(|a, b| a * b)
}

impl Stateful for Window {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("steps", self.steps)?;
        dict.insert("weight", self.weight)?;
        dict.insert("unit", self.unit)?;
        dict.insert("spoilt", u8::from(self.spoilt))?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let spoilt = dict.get::<u8>("spoilt")? != 0;
        // Older checkpoints know of no other unit.
        let unit = if dict.contains("unit") { dict.get("unit")? } else { 1.0 };
        let (steps, weight) = (dict.count("steps")?, dict.get("weight")?);
        *self = Window { steps, weight, unit, spoilt, torn: false };
        Ok(())
    }
}
