//! The memory of ranks that each have a share of the optimizer.

#![allow(clippy::unwrap_used)]

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use regimen_core::engine::{Engine, Part, ToDevice};
use regimen_core::run::Train;
use regimen_core::{AutoUnit, BoxError, Loss, Run, Step, Task};
use regimen_test::peers::{Threads, on_ranks};
use regimen_torch::tch::nn::{self, Module};
use regimen_torch::tch::{Device, Kind, Tensor};
use regimen_torch::{Adam, Torch, TorchDevice, initialize};

const SIZE: i64 = 6;

/// Layers of one size.
type Layers = Vec<nn::Linear>;

/// Rows of features.
#[derive(Debug)]
struct Rows(Tensor);

impl Clone for Rows {
    fn clone(&self) -> Self {
        Rows(self.0.shallow_clone())
    }
}

impl ToDevice<TorchDevice> for Rows {
    fn move_to(self, device: &TorchDevice) -> Result<Self, BoxError> {
        Ok(Rows(self.0.move_to(device)?))
    }
}

struct Square;

impl Task<Torch<Layers>> for Square {
    type Batch = Rows;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        layers: &Layers,
        Rows(rows): &Rows,
    ) -> Result<(Loss<Tensor>, ()), BoxError> {
        let output = layers.iter().fold(rows.shallow_clone(), |x, layer| layer.forward(&x));
        Ok((Loss::mean((&output * &output).mean(Kind::Float), 1.0), ()))
    }
}

fn unit() -> AutoUnit<Torch<Layers>, Square> {
    // Weights are drawn from the generator of the process.
    static ONE_BY_ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (vars, layers) = initialize(1, Device::Cpu, |root| {
        (0..16).map(|n| nn::linear(root / n, SIZE, SIZE, Default::default())).collect()
    });
    AutoUnit::new(Torch::new(vars, layers, Adam::new()).unwrap(), Square).shard_optimizer(true)
}

/// Bytes of the optimizer in the engine.
fn bytes(unit: &AutoUnit<Torch<Layers>, Square>) -> usize {
    let state = unit.engine().state(Part::Optimizer).unwrap();
    state.iter().map(|(_, array)| array.bytes().len()).sum()
}

#[test]
fn four_ranks_have_a_quarter_of_the_optimizer_each() {
    let batches = || vec![Rows(Tensor::ones([2, SIZE], (Kind::Float, Device::Cpu))); 3];
    let mut alone = unit();
    Run::new(&mut alone).train(&batches(), Train::epochs(1)).unwrap();
    let ranks = on_ranks(Threads::of(4, Duration::from_secs(600)), |peers| {
        let mut unit = unit();
        Run::new(&mut unit).peers(peers).train(&batches(), Train::epochs(1)).unwrap();
        bytes(&unit)
    });
    let (ranks, alone): (Vec<usize>, _) = (ranks.into_iter().map(Result::unwrap).collect(), bytes(&alone));
    assert_eq!(ranks.iter().sum::<usize>(), alone);
    assert!(ranks.iter().all(|of_rank| *of_rank as f64 <= 0.3 * alone as f64), "{ranks:?} of {alone}");
}
