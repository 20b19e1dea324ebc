//! Stochastic gradient descent.

use regimen_core::BoxError;
use tch::Tensor;

use super::{Algorithm, NO_MOMENTUM, Rule, check_range};
use crate::shim::{Kernel, SgdStep};

/// Stochastic gradient descent, as `torch.optim.SGD` with `fused=True`.
///
/// Momentum and Nesterov's are as in Sutskever and others, "On the importance of initialization and
/// momentum in deep learning" (2013), in PyTorch's form: the rate multiplies the velocity.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sgd {
    momentum: f64,
    dampening: f64,
    weight_decay: f64,
    nesterov: bool,
    maximize: bool,
}

impl Sgd {
    /// No momentum, no weight decay.
    pub fn new() -> Self {
        Sgd::default()
    }

    /// Decay of the velocity, at least 0.
    pub fn momentum(self, momentum: f64) -> Self {
        Sgd { momentum, ..self }
    }

    /// The share of the gradient that the velocity leaves out. Default: 0.
    pub fn dampening(self, dampening: f64) -> Self {
        Sgd { dampening, ..self }
    }

    /// Nesterov's momentum. Requires a momentum and no dampening.
    pub fn nesterov(self, nesterov: bool) -> Self {
        Sgd { nesterov, ..self }
    }

    /// The weight decay, added to the gradient; at least 0.
    pub fn weight_decay(self, decay: f64) -> Self {
        Sgd { weight_decay: decay, ..self }
    }

    /// Ascends the gradient.
    pub fn maximize(self, maximize: bool) -> Self {
        Sgd { maximize, ..self }
    }

    pub(super) fn with_momentum(self, momentum: f64) -> Option<Self> {
        (self.momentum > 0.0).then(|| self.momentum(momentum.max(NO_MOMENTUM)))
    }
}

impl From<Sgd> for Algorithm {
    fn from(sgd: Sgd) -> Self {
        Algorithm::Sgd(sgd)
    }
}

impl Rule for Sgd {
    fn check(&self) -> Result<(), BoxError> {
        check_range("momentum", self.momentum, f64::INFINITY)?;
        check_range("weight_decay", self.weight_decay, f64::INFINITY)?;
        if !self.dampening.is_finite() {
            return Err(format!("`dampening` is {}; it must be finite", self.dampening).into());
        }
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            return Err("`nesterov` needs a momentum and no dampening".into());
        }
        Ok(())
    }

    fn slots(&self) -> Vec<&'static str> {
        if self.momentum == 0.0 { vec![] } else { vec!["momentum_buffer"] }
    }

    fn step(
        &self,
        rate: f64,
        is_first: bool,
        parameters: &[&Tensor],
        slots: &[&[Tensor]],
        skip: Option<&Tensor>,
    ) -> Result<(), BoxError> {
        let Sgd { momentum, dampening, weight_decay, nesterov, maximize } = *self;
        let step = SgdStep { rate, momentum, dampening, weight_decay, nesterov, maximize, is_first };
        step.run(parameters, slots, skip)
    }
}
