//! `AutoUnit` over Burn, a contestant of `cargo xtask bench engines` that answers lines like `serve`.
//!
//! The networks are those of `engines-torch` and of `bench/peers/networks.py`. Burn's threads are set by
//! `RAYON_NUM_THREADS`.

mod networks;
// The file of the example: the benchmark measures the program that people run.
#[allow(dead_code, reason = "the example refuses sizes that its flags can have")]
#[path = "../../../../examples/chars/network.rs"]
mod transformer;

use networks::{Cnn, Mlp, Network};
use regimen::auto_unit::TRAIN_LOSS;
use regimen::data::each_epoch;
use regimen::run::Train;
use regimen::{AutoUnit, BoxError, Loss, Run, Step, Task};
use regimen_bench::{Contestant, serve};
use regimen_burn::burn::nn::Linear;
use regimen_burn::burn::tensor::Tensor;
use regimen_burn::{Burn, device, initialize};
use transformer::Transformer;

const SEED: u64 = 7;
const LEARNING_RATE: f64 = 1e-3;

fn main() -> Result<(), BoxError> {
    serve(|model, batch, trainer| match (model, trainer) {
        ("mlp", "regimen-burn") => contestant::<Mlp>(batch),
        ("cnn", "regimen-burn") => contestant::<Cnn>(batch),
        ("chars", "regimen-burn") => contestant::<Transformer>(batch),
        ("linear", "regimen-burn") => contestant::<Linear>(batch),
        _ => Err(format!("unknown trainer `{trainer}` of `{model}`").into()),
    })
}

/// Trains on epochs of one batch.
fn contestant<N: Network>(size: usize) -> Result<Contestant, BoxError> {
    let device = device("cpu")?;
    let engine = Burn::new(initialize(SEED, &device, N::new)?, N::optimizer(), &device)?;
    let batch = N::batch(size, &device);
    let mut unit = AutoUnit::new(engine, Learn).learning_rate(LEARNING_RATE);
    Ok(Box::new(move |steps| {
        let mut run = Run::new(&mut unit).seed(SEED);
        run.train(&each_epoch(|_| std::iter::repeat_n(batch.clone(), steps)), Train::epochs(1))?;
        let loss = run.state().value(TRAIN_LOSS);
        loss.ok_or_else(|| "no step was made".into())
    }))
}

struct Learn;

impl<N: Network> Task<Burn<N>> for Learn {
    type Batch = N::Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        _step: &Step,
        network: &N,
        batch: &N::Batch,
    ) -> Result<(Loss<Tensor<1>>, ()), BoxError> {
        Ok((network.loss(batch), ()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contestant_learns_its_batch() {
        for make in [contestant::<Mlp>, contestant::<Cnn>, contestant::<Transformer>, contestant::<Linear>] {
            let mut contestant = make(2).unwrap();
            let (first, then) = (contestant(3).unwrap(), contestant(3).unwrap());
            assert!(then < first, "{first}, then {then}");
        }
    }
}
