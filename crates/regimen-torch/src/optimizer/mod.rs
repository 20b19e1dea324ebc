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
    fn rule(&self) -> &dyn Rule {
        match self {
            Algorithm::Sgd(sgd) => sgd,
            Algorithm::Adam(adam) => adam,
            Algorithm::RmsProp(rms_prop) => rms_prop,
        }
    }
}

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
