//! Adam and AdamW.

use regimen_core::BoxError;
use tch::Tensor;

use super::{Algorithm, Rule, STEP, check_range};
use crate::shim::{AdamStep, Kernel};

/// Adam, as `torch.optim.Adam` and `torch.optim.AdamW` with `fused=True`.
///
/// Kingma and Ba, "Adam: a method for stochastic optimization" (2015); decoupled decay from
/// Loshchilov and Hutter, "Decoupled weight decay regularization" (2019); AMSGrad from Reddi, Kale
/// and Kumar, "On the convergence of Adam and beyond" (2018).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    betas: (f64, f64),
    epsilon: f64,
    weight_decay: f64,
    amsgrad: bool,
    maximize: bool,
    decoupled: bool,
}

impl Adam {
    /// Adam with betas of 0.9 and 0.999, an epsilon of 1e-8 and no weight decay.
    pub fn new() -> Self {
        let (betas, epsilon) = ((0.9, 0.999), 1e-8);
        Adam { betas, epsilon, weight_decay: 0.0, amsgrad: false, maximize: false, decoupled: false }
    }

    /// AdamW: as [`new`](Adam::new), with a decoupled weight decay of 0.01, which shrinks the parameters
    /// directly.
    #[doc(alias = "AdamW")]
    pub fn with_decoupled_decay() -> Self {
        Adam { weight_decay: 0.01, decoupled: true, ..Adam::new() }
    }

    /// Decay of the means of the gradient and of its square, each from 0 to less than 1.
    pub fn betas(self, first: f64, second: f64) -> Self {
        Adam { betas: (first, second), ..self }
    }

    /// Added to the root of the mean square, at least 0.
    pub fn epsilon(self, epsilon: f64) -> Self {
        Adam { epsilon, ..self }
    }

    /// The weight decay, at least 0: added to the gradient, or decoupled.
    pub fn weight_decay(self, decay: f64) -> Self {
        Adam { weight_decay: decay, ..self }
    }

    /// Divides by the largest mean square so far, not by the present one.
    pub fn amsgrad(self, amsgrad: bool) -> Self {
        Adam { amsgrad, ..self }
    }

    /// Ascends the gradient.
    pub fn maximize(self, maximize: bool) -> Self {
        Adam { maximize, ..self }
    }

    pub(super) fn with_momentum(self, momentum: f64) -> Self {
        self.betas(momentum, self.betas.1)
    }
}

impl Default for Adam {
    fn default() -> Self {
        Adam::new()
    }
}

impl From<Adam> for Algorithm {
    fn from(adam: Adam) -> Self {
        Algorithm::Adam(adam)
    }
}

impl Rule for Adam {
    fn check(&self) -> Result<(), BoxError> {
        check_range("betas.0", self.betas.0, 1.0)?;
        check_range("betas.1", self.betas.1, 1.0)?;
        check_range("epsilon", self.epsilon, f64::INFINITY)?;
        check_range("weight_decay", self.weight_decay, f64::INFINITY)
    }

    fn slots(&self) -> Vec<&'static str> {
        let slots = ["exp_avg", "exp_avg_sq", STEP, "max_exp_avg_sq"];
        slots[..if self.amsgrad { 4 } else { 3 }].to_vec()
    }

    fn step(
        &self,
        rate: f64,
        _is_first: bool,
        parameters: &[&Tensor],
        slots: &[&[Tensor]],
        skip: Option<&Tensor>,
    ) -> Result<(), BoxError> {
        let Adam { betas: (beta1, beta2), epsilon, weight_decay, amsgrad, maximize, decoupled } = *self;
        let step = AdamStep { rate, beta1, beta2, epsilon, weight_decay, amsgrad, maximize, decoupled };
        step.run(parameters, slots, skip)
    }
}
