//! `AutoUnit` over Burn on ranks, for `cargo xtask bench distributed`, as [`Ranks`] measures it.
//!
//! The network is the CNN of `engines`. Burn's threads are set by `RAYON_NUM_THREADS`.

// The file of `engines`, which trains more networks.
#[allow(dead_code, reason = "the other networks are of `engines` alone")]
#[path = "../engines/networks.rs"]
mod networks;
// The file of the example: the benchmark measures the program that people run.
#[allow(dead_code, reason = "the network is of `engines` alone")]
#[path = "../../../../examples/chars/network.rs"]
mod transformer;

use networks::{Cnn, Network};
use regimen::{AutoUnit, BoxError, Loss, Step, Task};
use regimen_bench::{BATCH, Ranks};
use regimen_burn::burn::tensor::Tensor;
use regimen_burn::{Burn, device, initialize};

const SEED: u64 = 7;
const LEARNING_RATE: f64 = 1e-3;

fn main() -> Result<(), BoxError> {
    let ranks = Ranks::connect()?;
    let device = device("cpu")?;
    let engine = Burn::new(initialize(SEED, &device, <Cnn as Network>::new)?, Cnn::optimizer(), &device)?;
    let batch = Cnn::batch(BATCH, &device);
    let mut unit = AutoUnit::new(engine, Learn).learning_rate(LEARNING_RATE);
    ranks.measure(&mut unit, || batch.clone())
}

struct Learn;

impl Task<Burn<Cnn>> for Learn {
    type Batch = <Cnn as Network>::Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        _step: &Step,
        network: &Cnn,
        batch: &Self::Batch,
    ) -> Result<(Loss<Tensor<1>>, ()), BoxError> {
        Ok((network.loss(batch), ()))
    }
}
