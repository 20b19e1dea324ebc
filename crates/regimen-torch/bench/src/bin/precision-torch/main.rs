//! `AutoUnit` over libtorch in one precision, with activations kept or recomputed: a cell of `cargo xtask
//! bench precision`, printed as `Cell`. `precision-torch devices` prints the devices.
//!
//! The networks are those of `engines-torch`, with [`keep_memory`] as there. libtorch's threads are set
//! by `OMP_NUM_THREADS`.

mod blocks;
// Of the package `regimen-bench`, on which this one cannot depend: Burn names another torch-sys.
#[allow(unreachable_pub, reason = "it is public where it belongs")]
#[path = "../../../../../../bench/src/cell.rs"]
mod cell;
// As `engines-torch` has it, which trains one network more.
#[allow(dead_code, reason = "one network is of `engines-torch` alone")]
#[path = "../engines-torch/networks.rs"]
mod networks;
#[path = "../engines-torch/transformer.rs"]
mod transformer;

use std::io::{self, Write};

use blocks::Blocks;
use cell::Cell;
use networks::{Batch, Cnn, Mlp};
use regimen::{AutoUnit, BoxError, Loss, Step, Task};
use regimen_torch::tch::Tensor;
use regimen_torch::{Recomputed, Torch, device, devices, initialize, keep_memory, place};
use transformer::Transformer;

const SEED: u64 = 7;
const LEARNING_RATE: f64 = 1e-3;

fn main() -> Result<(), BoxError> {
    keep_memory();
    if std::env::args().skip(1).eq(["devices"]) {
        return Ok(writeln!(io::stdout(), "{}", devices().join(" "))?);
    }
    let cell = Cell::from_args()?;
    match cell.network.as_str() {
        "mlp" => measure::<Mlp>(&cell),
        "cnn" => measure::<Cnn>(&cell),
        "chars" => measure::<Transformer>(&cell),
        other => Err(format!("there is no network `{other}`").into()),
    }
}

fn measure<N: Blocks>(cell: &Cell) -> Result<(), BoxError> {
    let device = device(&cell.device)?;
    let (vars, network) = initialize(SEED, device, |root| Recomputed::new(N::new(root)));
    let engine = Torch::new(vars, network, N::algorithm())?;
    let batch = place(N::batch(cell.batch), device)?;
    let learn = Learn { recomputes: cell.recomputes };
    let mut unit = AutoUnit::new(engine, learn).learning_rate(LEARNING_RATE).precision(cell.precision);
    cell.measure(&mut unit, || batch.share())
}

struct Learn {
    recomputes: bool,
}

impl<N: Blocks> Task<Torch<Recomputed<N>>> for Learn {
    type Batch = N::Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        step: &Step,
        network: &Recomputed<N>,
        batch: &N::Batch,
    ) -> Result<(Loss<Tensor>, ()), BoxError> {
        let loss = match self.recomputes {
            true => N::recomputed_loss(network, batch, step.is_train())?,
            false => network.lock().loss(batch, step.is_train()),
        };
        Ok((loss, ()))
    }
}
