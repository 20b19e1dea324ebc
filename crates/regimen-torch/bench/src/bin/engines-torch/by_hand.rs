//! The step in plain tch with the optimizer of `regimen-torch`.

use regimen::BoxError;
use regimen::random::keyed;
use regimen::state::Phase;
use regimen_torch::tch::{self, Device};
use regimen_torch::{Optim, initialize};

use crate::networks::Network;
use crate::serve::Contestant;
use crate::{LEARNING_RATE, SEED};

/// Trains on one batch repeatedly; does all that `AutoUnit` does.
pub(crate) fn contestant<N: Network>(size: usize) -> Result<Contestant, BoxError> {
    let (vars, network) = initialize(SEED, Device::Cpu, |root| N::new(root));
    let mut optim = Optim::new(&vars, N::algorithm())?;
    let batch = N::batch(size);
    Ok(Box::new(move |steps| {
        let (mut sum, mut weight) = (0.0, 0.0);
        for step in 0..steps {
            tch::manual_seed(keyed(SEED, Phase::Train.name(), 0, step as u64).cast_signed());
            let loss = network.loss(&batch, true);
            loss.mean.f_backward()?;
            let value = loss.mean.f_double_value(&[])?;
            if !value.is_finite() {
                return Err(format!("the loss is not finite: {value}").into());
            }
            optim.step(&[LEARNING_RATE])?;
            sum += value * loss.weight;
            weight += loss.weight;
        }
        Ok(sum / weight)
    }))
}
