//! `AutoUnit` over Burn in one precision, with activations kept or recomputed: a cell of
//! `cargo xtask bench precision`, printed as by `Cell`.
//!
//! The networks are those of `engines`. Burn's threads are set by `RAYON_NUM_THREADS`.

mod blocks;
// The file of `engines`, which trains one more network.
#[allow(dead_code, reason = "one network is of `engines` alone")]
#[path = "../engines/networks.rs"]
mod networks;
// The file of the example: the benchmark measures the program that people run.
#[allow(dead_code, reason = "the example refuses sizes that its flags can have")]
#[path = "../../../../examples/chars/network.rs"]
mod transformer;

use blocks::Blocks;
use networks::{Cnn, Mlp};
use regimen::{AutoUnit, BoxError, Loss, Step, Task};
use regimen_bench::Cell;
use regimen_burn::burn::tensor::Tensor;
use regimen_burn::{Burn, device, initialize};
use transformer::Transformer;

const SEED: u64 = 7;
const LEARNING_RATE: f64 = 1e-3;

fn main() -> Result<(), BoxError> {
    let cell = Cell::from_args()?;
    match cell.network.as_str() {
        "mlp" => measure::<Mlp>(&cell),
        "cnn" => measure::<Cnn>(&cell),
        "chars" => measure::<Transformer>(&cell),
        other => Err(format!("unknown network `{other}`").into()),
    }
}

fn measure<N: Blocks>(cell: &Cell) -> Result<(), BoxError> {
    let device = device(&cell.device)?;
    let engine = Burn::new(initialize(SEED, &device, N::new)?, N::optimizer(), &device)?;
    let batch = N::batch(cell.batch, &device);
    let learn = Learn { recomputes: cell.recomputes };
    let mut unit = AutoUnit::new(engine, learn).learning_rate(LEARNING_RATE).precision(cell.precision);
    cell.measure(&mut unit, || batch.clone())
}

struct Learn {
    recomputes: bool,
}

impl<N: Blocks> Task<Burn<N>> for Learn {
    type Batch = N::Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        _step: &Step,
        network: &N,
        batch: &N::Batch,
    ) -> Result<(Loss<Tensor<1>>, ()), BoxError> {
        let loss = if self.recomputes { network.recomputed_loss(batch)? } else { network.loss(batch) };
        Ok((loss, ()))
    }
}
