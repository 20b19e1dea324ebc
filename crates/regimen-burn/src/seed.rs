//! Initial weights and a step's draws as functions of a seed.

use burn::module::Module;
use burn::tensor::Device;
use regimen_core::{BoxError, State};

use crate::module_state::settle;

/// Builds a module whose initial weights depend on `seed` alone.
///
/// Burn draws a parameter at its first use, from the generator's state at that time. Here every parameter is
/// drawn before the module is returned. Tied and quantized parameters are errors, as in
/// [`Burn::new`](crate::Burn::new).
///
/// ```
/// use regimen_burn::burn::nn::LinearConfig;
///
/// let device = regimen_burn::device("cpu")?;
/// let layer = regimen_burn::initialize(7, &device, |device| LinearConfig::new(4, 2).init(device))?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub fn initialize<M: Module>(
    seed: u64,
    device: &Device,
    build: impl FnOnce(&Device) -> M,
) -> Result<M, BoxError> {
    device.seed(seed);
    let mut module = build(device);
    settle(&mut module)?;
    Ok(module)
}

/// Seeds `device` for the present step of `state`, so that dropout draws the same numbers after a resume. For
/// plain units, at the beginning of each step; `AutoUnit` does it by itself.
pub fn seed_step(state: &State, device: &Device) {
    device.seed(state.step_seed());
}
