//! Initial weights and the draws of a step as functions of a seed.

use burn::module::Module;
use burn::tensor::Device;
use regimen_core::State;

use crate::parameters::draw;

/// Builds a module whose initial weights are set by `seed` alone.
///
/// Burn draws a parameter when it is first used, from whatever state its generator is in by then.
/// Here every parameter is drawn before the module is returned.
///
/// ```
/// use regimen_burn::burn::nn::LinearConfig;
///
/// let device = regimen_burn::device("cpu")?;
/// let layer = regimen_burn::initialize(7, &device, |device| LinearConfig::new(4, 2).init(device));
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub fn initialize<M: Module>(seed: u64, device: &Device, build: impl FnOnce(&Device) -> M) -> M {
    device.seed(seed);
    let module = build(device);
    draw(&module);
    module
}

/// Seeds `device` for the step that `state` is at, so that dropout draws the same numbers there
/// after a resume. For plain units, at the beginning of each step; `AutoUnit` does it by itself.
pub fn seed_step(state: &State, device: &Device) {
    device.seed(state.step_seed());
}
