//! `AutoUnit` over libtorch on ranks of one thread, for `cargo xtask bench distributed`, as [`Ranks`] measures it.
//!
//! The network is the CNN of `engines-torch`, with [`keep_memory`] as there.

// As `engines-torch` has it, which trains more networks.
#[allow(dead_code, reason = "the other networks are of `engines-torch` alone")]
#[path = "../engines-torch/networks.rs"]
mod networks;
// Of the package `regimen-bench`, on which this one cannot depend: Burn names another torch-sys.
#[allow(unreachable_pub, reason = "it is public where it belongs")]
#[path = "../../../../../../bench/src/ranks.rs"]
mod ranks;

use networks::{Batch, Cnn, Learn, Network};
use ranks::{BATCH, Ranks};
use regimen::{AutoUnit, BoxError};
use regimen_torch::tch::Device;
use regimen_torch::{Torch, initialize, keep_memory, tch};

const SEED: u64 = 7;
const LEARNING_RATE: f64 = 1e-3;

fn main() -> Result<(), BoxError> {
    keep_memory();
    tch::set_num_threads(1);
    let ranks = Ranks::connect()?;
    let (vars, network) = initialize(SEED, Device::Cpu, Cnn::new);
    let engine = Torch::new(vars, network, Cnn::algorithm())?;
    let batch = Cnn::batch(BATCH);
    let mut unit = AutoUnit::new(engine, Learn).learning_rate(LEARNING_RATE);
    ranks.measure(&mut unit, || batch.share())
}
