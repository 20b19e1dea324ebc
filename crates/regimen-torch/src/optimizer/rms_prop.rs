//! RMSprop.

use regimen_core::BoxError;
use tch::Tensor;

use super::{Algorithm, NO_MOMENTUM, Rule, check_range};
use crate::shim::{Kernel, RmsPropStep};

/// RMSprop, as `torch.optim.RMSprop`. libtorch has no fused kernel for it.
///
/// Hinton's lectures, "Neural networks for machine learning" (2012), 6e; centred as in Graves,
/// "Generating sequences with recurrent neural networks" (2013).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    alpha: f64,
    epsilon: f64,
    weight_decay: f64,
    momentum: f64,
    centered: bool,
    maximize: bool,
}

impl RmsProp {
    /// An alpha of 0.99, an epsilon of 1e-8, no momentum and no weight decay.
    pub fn new() -> Self {
        let (alpha, epsilon) = (0.99, 1e-8);
        RmsProp { alpha, epsilon, weight_decay: 0.0, momentum: 0.0, centered: false, maximize: false }
    }

    /// Decay of the mean square, from 0 to less than 1.
    pub fn alpha(self, alpha: f64) -> Self {
        RmsProp { alpha, ..self }
    }

    /// Added to the root of the mean square, at least 0.
    pub fn epsilon(self, epsilon: f64) -> Self {
        RmsProp { epsilon, ..self }
    }

    /// The weight decay, added to the gradient; at least 0.
    pub fn weight_decay(self, decay: f64) -> Self {
        RmsProp { weight_decay: decay, ..self }
    }

    /// Decay of the velocity, at least 0.
    pub fn momentum(self, momentum: f64) -> Self {
        RmsProp { momentum, ..self }
    }

    /// Divides by the root of the variance, not of the mean square.
    pub fn centered(self, centered: bool) -> Self {
        RmsProp { centered, ..self }
    }

    /// Ascends the gradient.
    pub fn maximize(self, maximize: bool) -> Self {
        RmsProp { maximize, ..self }
    }

    pub(super) fn with_momentum(self, momentum: f64) -> Option<Self> {
        (self.momentum > 0.0).then(|| self.momentum(momentum.max(NO_MOMENTUM)))
    }
}

impl Default for RmsProp {
    fn default() -> Self {
        RmsProp::new()
    }
}

impl From<RmsProp> for Algorithm {
    fn from(rms_prop: RmsProp) -> Self {
        Algorithm::RmsProp(rms_prop)
    }
}

impl Rule for RmsProp {
    fn check(&self) -> Result<(), BoxError> {
        check_range("alpha", self.alpha, 1.0)?;
        check_range("epsilon", self.epsilon, f64::INFINITY)?;
        check_range("weight_decay", self.weight_decay, f64::INFINITY)?;
        check_range("momentum", self.momentum, f64::INFINITY)
    }

    fn slots(&self) -> Vec<&'static str> {
        let mut slots = vec!["square_avg"];
        slots.extend((self.momentum > 0.0).then_some("momentum_buffer"));
        slots.extend(self.centered.then_some("grad_avg"));
        slots
    }

    fn step(
        &self,
        rate: f64,
        _is_first: bool,
        parameters: &[&Tensor],
        slots: &[&[Tensor]],
        skip: Option<&Tensor>,
    ) -> Result<(), BoxError> {
        let RmsProp { alpha, epsilon, weight_decay, momentum, centered, maximize } = *self;
        let step = RmsPropStep { rate, alpha, epsilon, weight_decay, momentum, centered, maximize };
        step.run(parameters, slots, skip)
    }
}
