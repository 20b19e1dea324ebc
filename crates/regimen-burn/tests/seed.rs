//! One test: Burn's CPU generator is one for the whole process.

use regimen_burn::burn::module::Module;
use regimen_burn::burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use regimen_burn::burn::optim::SgdConfig;
use regimen_burn::burn::tensor::{Device, Tensor};
use regimen_burn::{Burn, ModuleState, device, initialize};
use regimen_core::BoxError;
use regimen_core::engine::{Engine, Mode};
use regimen_core::saved::{StateDict, Stateful};

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    dropout: Dropout,
    last: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Net {
            first: LinearConfig::new(4, 8).init(device),
            dropout: DropoutConfig::new(0.5).init(),
            last: LinearConfig::new(8, 2).init(device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.last.forward(self.dropout.forward(self.first.forward(x)))
    }
}

#[test]
fn weights_and_draws_are_functions_of_the_seed() -> Result<(), BoxError> {
    let device = device("cpu")?;
    let weights = |seed, use_last_first: bool| -> Result<StateDict, BoxError> {
        let mut net = initialize(seed, &device, Net::new)?;
        // The order of first use does not matter any more.
        if use_last_first {
            net.last.forward(Tensor::<2>::ones([1, 8], &device));
        }
        device.seed(99);
        ModuleState(&mut net).state_dict()
    };
    assert_eq!(weights(7, false)?, weights(7, true)?);
    assert_ne!(weights(7, false)?, weights(8, false)?);

    let mut engine = Burn::new(initialize(7, &device, Net::new)?, SgdConfig::new().init(), &device)?;
    let draw = |engine: &mut Burn<Net>, mode, seed| -> Vec<f32> {
        engine.seed(seed);
        let x = Tensor::ones([3, 4], engine.device(mode).device());
        engine.with_module(mode, |net| net.forward(x)).into_data().try_to_vec().unwrap()
    };
    assert_eq!(draw(&mut engine, Mode::Train, 5), draw(&mut engine, Mode::Train, 5));
    assert_ne!(draw(&mut engine, Mode::Train, 5), draw(&mut engine, Mode::Train, 6));
    assert_eq!(draw(&mut engine, Mode::Eval, 5), draw(&mut engine, Mode::Predict, 6));
    Ok(())
}
