//! The step of `AutoUnit`.

use regimen::auto_unit::TRAIN_LOSS;
use regimen::data::each_epoch;
use regimen::run::Train;
use regimen::{AutoUnit, BoxError, Loss, Run, Step, Task};
use regimen_torch::tch::{Device, Tensor};
use regimen_torch::{Torch, initialize};

use crate::networks::{Batch, Network};
use crate::serve::Contestant;
use crate::{LEARNING_RATE, SEED};

/// Trains with an epoch of one batch repeatedly.
pub(crate) fn contestant<N: Network>(size: usize) -> Result<Contestant, BoxError> {
    let (vars, network) = initialize(SEED, Device::Cpu, |root| N::new(root));
    let engine = Torch::new(vars, network, N::algorithm())?;
    let batch = N::batch(size);
    let mut unit = AutoUnit::new(engine, Learn).learning_rate(LEARNING_RATE);
    Ok(Box::new(move |steps| {
        let mut run = Run::new(&mut unit).seed(SEED);
        run.train(&each_epoch(|_| (0..steps).map(|_| batch.share())), Train::epochs(1))?;
        let loss = run.state().value(TRAIN_LOSS);
        loss.ok_or_else(|| "no step was made".into())
    }))
}

struct Learn;

impl<N: Network> Task<Torch<N>> for Learn {
    type Batch = N::Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        step: &Step,
        network: &N,
        batch: &N::Batch,
    ) -> Result<(Loss<Tensor>, ()), BoxError> {
        Ok((network.loss(batch, step.is_train()), ()))
    }
}
