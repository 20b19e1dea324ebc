//! Initial weights and a step's draws as functions of a seed.

use regimen_core::State;
use tch::Device;
use tch::nn::{Path, VarStore};

/// Builds a model whose initial weights depend on `seed` alone, and its store. libtorch has one generator per
/// process: no other thread may draw from it meanwhile.
///
/// ```
/// use regimen_torch::tch::{Device, nn};
///
/// let (vars, layer) = regimen_torch::initialize(7, Device::Cpu, |root| {
///     nn::linear(root / "layer", 4, 2, Default::default())
/// });
/// assert_eq!(vars.len(), 2);
/// ```
pub fn initialize<M>(seed: u64, device: Device, build: impl FnOnce(&Path<'_>) -> M) -> (VarStore, M) {
    let vars = VarStore::new(device);
    set_seed(seed);
    let module = build(&vars.root());
    (vars, module)
}

/// Seeds libtorch for the present step of `state`, so that dropout draws the same numbers after a resume. For
/// plain units, at the beginning of each step; `AutoUnit` does it by itself.
pub fn seed_step(state: &State) {
    set_seed(state.step_seed());
}

/// Seeds the generators of every device.
pub(crate) fn set_seed(seed: u64) {
    // libtorch takes the same 64 bits as a signed number.
    tch::manual_seed(seed.cast_signed());
}
