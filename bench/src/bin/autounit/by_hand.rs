//! The same training step written by hand with Burn alone.

use regimen::BoxError;
use regimen::random::keyed;
use regimen::state::Phase;
use regimen_burn::burn::module::{Module, ModuleVisitor, Param};
use regimen_burn::burn::nn::loss::CrossEntropyLossConfig;
use regimen_burn::burn::optim::{AdamConfig, GradientsAccumulator, GradientsParams};
use regimen_burn::burn::tensor::{Device, Tensor};
use regimen_burn::{device, initialize};

use crate::network::{Batch, Network, batches};
use crate::{BATCHES, Case, LEARNING_RATE, MAX_NORM, SEED};

/// Makes `steps` steps, and returns the mean loss of the last epoch so far.
pub(crate) fn train<N: Network>(case: Case, steps: usize) -> Result<f64, BoxError> {
    let cpu = device("cpu")?;
    let device = cpu.clone().autodiff();
    let mut module = initialize(SEED, &cpu, N::new)?.train().fork(&device);
    let mut optimizer = AdamConfig::new().init();
    let criterion = CrossEntropyLossConfig::new().init(&device);
    let data = batches(case.batch, &cpu);
    let (mut sum, mut weight) = (0.0, 0.0);
    let mut held = GradientsAccumulator::new();
    let mut held_weight = 0.0;
    for step in 0..steps {
        if step % BATCHES == 0 {
            (sum, weight) = (0.0, 0.0);
        }
        let (pixels, classes) = on(data[step % BATCHES].clone(), &device);
        device.seed(keyed(SEED, Phase::Train.name(), 0, step as u64));
        let samples = case.batch as f64;
        let loss = criterion.forward(module.logits(pixels), classes);
        let gradients = if case.accumulated {
            let gradients = (loss.clone() * samples).backward();
            held.accumulate(&module, GradientsParams::from_grads(gradients, &module));
            held_weight += samples;
            let is_full = step % 2 == 1;
            is_full.then(|| clipped(held.grads(), std::mem::take(&mut held_weight), &module))
        } else {
            Some(GradientsParams::from_grads(loss.backward(), &module))
        };
        let value = loss.into_scalar::<f64>();
        if !value.is_finite() {
            return Err(format!("the loss is not finite: {value}").into());
        }
        if let Some(gradients) = gradients {
            module = optimizer.step(LEARNING_RATE, module, gradients);
        }
        sum += value * samples;
        weight += samples;
    }
    Ok(sum / weight)
}

fn on((pixels, classes): Batch, device: &Device) -> Batch {
    (pixels.to_device(device), classes.to_device(device))
}

/// Averages over a window of `weight` samples and clips the norm to `MAX_NORM`.
fn clipped<M: Module>(mut gradients: GradientsParams, weight: f64, module: &M) -> GradientsParams {
    module.visit(&mut Scale(&mut gradients, 1.0 / weight));
    let mut squares = Squares(&gradients, Vec::new());
    module.visit(&mut squares);
    let squares = Tensor::cat(squares.1, 0).into_data();
    let norm = squares.iter::<f64>().sum::<f64>().sqrt();
    if MAX_NORM < norm {
        module.visit(&mut Scale(&mut gradients, MAX_NORM / norm));
    }
    gradients
}

struct Scale<'a>(&'a mut GradientsParams, f64);

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.0.remove::<D>(param.id) {
            self.0.register(param.id, gradient * self.1);
        }
    }
}

struct Squares<'a>(&'a GradientsParams, Vec<Tensor<1>>);

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.0.get::<D>(param.id) {
            self.1.push(gradient.square().sum());
        }
    }
}
