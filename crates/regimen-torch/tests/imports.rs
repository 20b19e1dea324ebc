//! A program may import all of `regimen` and all of this crate.
#![expect(unused_imports, reason = "a name that both have fails here, used or not")]

/// The names in scope of such a program.
mod both {
    pub(crate) use regimen::*;
    pub(crate) use regimen_torch::*;
}

use both::{
    Adam, Algorithm, FrozenScript, ModuleState, Optim, Recomputed, RmsProp, ScriptModule, Sgd, Torch,
    TorchDevice, TorchWeights, accuracy, callback, checkpoint, checkpoint_activations, correct,
    cross_entropy, data, device, devices, failure, initialize, keep_memory, log, metric, place, schedule,
    seed_step, signal, tch, use_deterministic_algorithms, watch,
};

#[test]
fn a_name_of_both_crates_would_not_compile() {
    use both::*;
    let x = tch::Tensor::from_slice(&[1.0_f32, 2.0]);
    assert_eq!(watch("x", x).size(), [2]);
}
