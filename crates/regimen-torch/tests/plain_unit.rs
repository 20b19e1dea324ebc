//! A unit that calls tch by itself, made of the parts. Saved in the middle of its training and loaded into
//! another, it continues to the same bits.
//!
//! One test: libtorch's CPU generator is one for the whole process.

#![allow(clippy::unwrap_used)]

use regimen::run::Train;
use regimen::saved::{AppState, load_parts, save_parts};
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};
use regimen_torch::tch::nn::{self, Module, VarStore};
use regimen_torch::tch::{Device, Kind, Tensor, set_num_threads};
use regimen_torch::{ModuleState, Optim, Sgd, initialize, place, seed_step};

#[derive(AppState)]
struct Plain {
    #[app_state(with = ModuleState)]
    vars: VarStore,
    #[app_state(skip)]
    layers: [nn::Linear; 2],
    optim: Optim,
}

impl Plain {
    fn new(seed: u64) -> Self {
        let (vars, layers) = initialize(seed, Device::Cpu, |root| {
            ["first", "last"].map(|name| nn::linear(root / name, 4, 4, Default::default()))
        });
        let optim = Optim::new(&vars, Sgd::new().momentum(0.9).dampening(0.5)).unwrap();
        Plain { vars, layers, optim }
    }
}

impl TrainUnit for Plain {
    type Batch = u64;

    /// The first two steps leave the last layer alone: its optimizer state begins later.
    fn train_step(&mut self, state: &mut State, batch: u64) -> Result<(), BoxError> {
        seed_step(state);
        let x = Tensor::full([8, 4], batch as f64, (Kind::Float, Device::Cpu));
        let x = self.layers[0].forward(&place(x, Device::Cpu)?).tanh().dropout(0.5, true);
        let x = if state.train_progress().steps < 2 { x } else { self.layers[1].forward(&x) };
        x.square().mean(Kind::Float).backward();
        self.optim.step(&[0.1])
    }
}

#[test]
fn a_plain_unit_that_was_saved_goes_on_to_the_same_bits() {
    set_num_threads(1);
    let data: Vec<u64> = (1..=6).collect();
    let mut whole = Plain::new(1);
    Run::new(&mut whole).train(&data, Train::steps(6)).unwrap();
    let expected = save_parts(&mut whole).unwrap();
    for stop in 1..6 {
        let mut first = Plain::new(1);
        let mut run = Run::new(&mut first);
        run.train(&data, Train::steps(stop)).unwrap();
        let saved = save_parts(run.unit_mut()).unwrap();
        // The optimizer holds what it has begun with, and no more.
        assert_eq!(saved["optim"].len(), if stop < 3 { 2 } else { 4 });
        let mut other = Plain::new(2);
        load_parts(&mut other, &saved).unwrap();
        *run.unit_mut() = other;
        run.train(&data, Train::steps(6)).unwrap();
        drop(run);
        assert_eq!(save_parts(&mut first).unwrap(), expected, "stopped after {stop}");
    }
}
