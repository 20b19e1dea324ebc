//! The training step of `AutoUnit`.

use regimen::auto_unit::TRAIN_LOSS;
use regimen::run::Train;
use regimen::{AutoUnit, BoxError, Loss, Run, Step, Task};
use regimen_burn::burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use regimen_burn::burn::optim::AdamConfig;
use regimen_burn::burn::tensor::Tensor;
use regimen_burn::{Burn, device, initialize};

use crate::network::{Batch, Network, batches};
use crate::{Case, LEARNING_RATE, MAX_NORM, SEED};

/// Makes `steps` steps, and returns the mean loss of the last epoch so far.
pub(crate) fn train<N: Network>(case: Case, steps: usize) -> Result<f64, BoxError> {
    let device = device("cpu")?;
    let engine = Burn::new(initialize(SEED, &device, N::new)?, AdamConfig::new().init(), &device)?;
    let task = Classify(CrossEntropyLossConfig::new().init(&device));
    let mut unit = AutoUnit::new(engine, task).learning_rate(LEARNING_RATE);
    if case.accumulated {
        unit = unit.accumulate(2).clip_norm(MAX_NORM);
    }
    let mut run = Run::new(&mut unit).seed(SEED);
    run.train(&batches(case.batch, &device), Train::steps(steps as u64))?;
    let loss = run.state().metric(TRAIN_LOSS).and_then(|metric| metric.so_far().or(metric.epoch_value()));
    loss.ok_or_else(|| "no step was made".into())
}

struct Classify(CrossEntropyLoss);

impl<N: Network> Task<Burn<N>> for Classify {
    type Batch = Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        _step: &Step,
        module: &N,
        (pixels, classes): &Batch,
    ) -> Result<(Loss<Tensor<1>>, ()), BoxError> {
        let [weight] = classes.dims();
        let loss = self.0.forward(module.logits(pixels.clone()), classes.clone());
        Ok((Loss::mean(loss, weight as f64), ()))
    }
}
