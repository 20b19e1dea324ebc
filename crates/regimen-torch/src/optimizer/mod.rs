//! Optimizers on libtorch's fused kernels. Their state can be read, saved and loaded.

mod adam;
mod optim;
mod rms_prop;
mod sgd;

use regimen_core::BoxError;
use tch::{Kind, Tensor};

pub use adam::Adam;
pub use optim::Optim;
pub use rms_prop::RmsProp;
pub use sgd::Sgd;

/// An optimizer's algorithm and settings: [`Sgd`], [`Adam`] or [`RmsProp`].
///
/// Names, formulas and defaults are PyTorch's. The learning rate is not a setting: it is given to each step.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Algorithm {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Adam and AdamW.
    Adam(Adam),
    /// RMSprop.
    RmsProp(RmsProp),
}

/// An algorithm's state per parameter, and its step.
trait Rule {
    /// Fails if a setting is invalid.
    fn check(&self) -> Result<(), BoxError>;

    /// The names of a parameter's slots of state, in the order of the kernel.
    fn slots(&self) -> Vec<&'static str>;

    /// One step over `parameters`, all of which hold a gradient, with their state. `is_first` if the state is
    /// new. `skip` as for [`Kernel`](crate::shim::Kernel).
    fn step(
        &self,
        rate: f64,
        is_first: bool,
        parameters: &[&Tensor],
        slots: &[&[Tensor]],
        skip: Option<&Tensor>,
    ) -> Result<(), BoxError>;
}

impl Algorithm {
    /// The same with another momentum. `None` if it has none.
    fn with_momentum(self, momentum: f64) -> Option<Self> {
        match self {
            Algorithm::Sgd(sgd) => sgd.with_momentum(momentum).map(Algorithm::Sgd),
            Algorithm::Adam(adam) => Some(Algorithm::Adam(adam.with_momentum(momentum))),
            Algorithm::RmsProp(rms_prop) => rms_prop.with_momentum(momentum).map(Algorithm::RmsProp),
        }
    }

    fn rule(&self) -> &dyn Rule {
        match self {
            Algorithm::Sgd(sgd) => sgd,
            Algorithm::Adam(adam) => adam,
            Algorithm::RmsProp(rms_prop) => rms_prop,
        }
    }
}

/// Stands for a momentum of 0 after another one: the kernels take 0 for an optimizer without a velocity, and would
/// leave it as it is. Its product with a velocity is 0, or too small to change a sum.
const NO_MOMENTUM: f64 = f64::MIN_POSITIVE;

/// The name of the only slot that is a single number: the number of steps of a parameter.
const STEP: &str = "step";

/// The state of `parameter` in `slot` before its first step.
fn fresh(slot: &str, parameter: &Tensor) -> Result<Tensor, tch::TchError> {
    if slot == STEP {
        return Tensor::f_zeros([0_i64; 0], (Kind::Float, parameter.device()));
    }
    parameter.detach().f_zeros_like()
}

/// Fails if `value` is not at least 0, or not less than `below`.
fn check_range(name: &str, value: f64, below: f64) -> Result<(), BoxError> {
    if (0.0..below).contains(&value) {
        return Ok(());
    }
    match below {
        f64::INFINITY => Err(format!("`{name}` is {value}; it must be a number of at least 0").into()),
        _ => Err(format!("`{name}` is {value}; it must be at least 0 and less than {below}").into()),
    }
}
