//! The step of `AutoUnit`.

use regimen::auto_unit::TRAIN_LOSS;
use regimen::data::each_epoch;
use regimen::run::Train;
use regimen::{AutoUnit, BoxError, Run};
use regimen_torch::tch::Device;
use regimen_torch::{Torch, initialize};

use crate::networks::{Batch, Learn, Network};
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
