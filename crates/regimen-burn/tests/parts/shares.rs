//! The memory of ranks that each have a share of the optimizer.

use std::time::Duration;

use regimen_burn::Burn;
use regimen_burn::burn::module::Module;
use regimen_burn::burn::nn::{Linear, LinearConfig};
use regimen_burn::burn::optim::AdamWConfig;
use regimen_burn::burn::tensor::{Tensor, TensorData};
use regimen_core::engine::{Engine, Part};
use regimen_core::run::Train;
use regimen_core::{AutoUnit, BoxError, Loss, Run, Step, Task};
use regimen_test::peers::{Threads, on_ranks};

use crate::support::device;

const SIZE: usize = 6;

/// Layers of one size.
#[derive(Module, Debug)]
struct Layers {
    all: Vec<Linear>,
}

struct Square;

impl Task<Burn<Layers>> for Square {
    type Batch = Tensor<2>;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        layers: &Layers,
        batch: &Tensor<2>,
    ) -> Result<(Loss<Tensor<1>>, ()), BoxError> {
        let output = layers.all.iter().fold(batch.clone(), |x, layer| layer.forward(x));
        Ok((Loss::mean(output.square().mean(), 1.0), ()))
    }
}

fn unit() -> AutoUnit<Burn<Layers>, Square> {
    let device = device();
    let layer = |_| LinearConfig::new(SIZE, SIZE).init(&device);
    let layers = Layers { all: (0..16).map(layer).collect() };
    let engine = Burn::new(layers, AdamWConfig::new().init(), &device).unwrap();
    AutoUnit::new(engine, Square).shard_optimizer(true)
}

/// Bytes of the optimizer in the engine.
fn bytes(unit: &AutoUnit<Burn<Layers>, Square>) -> usize {
    let state = unit.engine().state(Part::Optimizer).unwrap();
    state.iter().map(|(_, array)| array.bytes().len()).sum()
}

#[test]
fn four_ranks_have_a_quarter_of_the_optimizer_each() {
    let rows = TensorData::new(vec![0.5_f32; 2 * SIZE], [2, SIZE]);
    let batches = || vec![Tensor::<2>::from_data(rows.clone(), &device()); 3];
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
