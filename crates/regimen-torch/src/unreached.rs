//! Trained parameters that no backward pass has reached.

use crate::parameters::Parameters;

/// The numbers of the parameters that have held no gradient yet, in the order of their names. In a sound
/// model the list is empty after the first backward pass, and nothing is checked from then on.
#[derive(Debug)]
pub(crate) struct Unreached(Vec<usize>);

impl Unreached {
    /// All trained parameters.
    pub(crate) fn all(parameters: &Parameters) -> Self {
        Unreached(parameters.sorted().to_vec())
    }

    /// Removes those that hold a gradient.
    pub(crate) fn reach(&mut self, parameters: &Parameters) {
        self.0.retain(|&i| !parameters.trained()[i].grad().defined());
    }

    /// The names of those that are not frozen, in order.
    pub(crate) fn names(&self, parameters: &Parameters) -> Vec<String> {
        let trained = self.0.iter().filter(|&&i| parameters.trained()[i].requires_grad());
        trained.map(|&i| parameters.names()[i].clone()).collect()
    }
}
