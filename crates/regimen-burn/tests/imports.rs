//! A program may import all of `regimen` and all of this crate.
#![expect(unused_imports, reason = "a name that both have fails here, used or not")]

/// The names in scope of such a program.
mod both {
    pub(crate) use regimen::*;
    pub(crate) use regimen_burn::*;
}

use both::{
    Burn, BurnDevice, BurnWeights, ModuleState, OptimizerState, accuracy, burn, callback, checkpoint,
    checkpoint_activations, correct, cross_entropy, data, device, devices, initialize, log, metric, named,
    place, schedule, seed_step, signal, watch,
};

#[test]
fn a_name_of_both_crates_would_not_compile() {
    use both::*;
    let x = burn::tensor::Tensor::<1>::ones([2], &device("cpu").unwrap());
    assert_eq!(watch("x", x).dims(), [2]);
}
