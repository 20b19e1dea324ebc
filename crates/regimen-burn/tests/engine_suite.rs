//! One test: Burn's CPU generator is one for the whole process.

// The constructors of a fixture cannot fail.
#![allow(clippy::unwrap_used)]

use std::ops::Range;

use regimen_burn::burn::module::{Module, ParamGroup};
use regimen_burn::burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};
use regimen_burn::burn::optim::AdamWConfig;
use regimen_burn::burn::tensor::activation::tanh;
use regimen_burn::burn::tensor::{Device, Tensor, TensorData};
use regimen_burn::{Burn, device, initialize};
use regimen_core::{BoxError, Loss, Mode};
use regimen_test::engine_suite::{EngineFixture, run_all};

#[derive(Module, Debug)]
struct Mlp {
    first: Linear,
    norm: Option<BatchNorm>,
    dropout: Dropout,
    last: Linear,
}

impl Mlp {
    fn new(norm: bool, dropout: f64, device: &Device) -> Self {
        Mlp {
            first: LinearConfig::new(1, 8).init(device),
            norm: norm.then(|| BatchNormConfig::new(8).init(device)),
            dropout: DropoutConfig::new(dropout).init(),
            last: LinearConfig::new(8, 1).init(device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = tanh(self.first.forward(x));
        let x = match &self.norm {
            Some(norm) => norm.forward(x.unsqueeze_dim::<3>(2)).squeeze_dim(2),
            None => x,
        };
        self.last.forward(self.dropout.forward(x))
    }
}

struct OnBurn;

impl OnBurn {
    fn engine(&self, norm: bool, dropout: f64) -> Burn<Mlp> {
        let device = device("cpu").unwrap();
        let mlp = initialize(1, &device, |device| Mlp::new(norm, dropout, device)).unwrap();
        Burn::new(mlp, AdamWConfig::new().init(), &device)
            .and_then(|engine| engine.group("last", ParamGroup::from_predicate("last")))
            .unwrap()
    }

    fn column(&self, numbers: Vec<f32>) -> Tensor<2> {
        let rows = numbers.len();
        Tensor::from_data(TensorData::new(numbers, [rows, 1]), &device("cpu").unwrap())
    }
}

impl EngineFixture for OnBurn {
    type Engine = Burn<Mlp>;
    type Batch = (Tensor<2>, Tensor<2>);

    fn plain(&self) -> Burn<Mlp> {
        self.engine(false, 0.0)
    }

    fn regularized(&self) -> Burn<Mlp> {
        self.engine(true, 0.5)
    }

    fn batch(&self, rows: Range<u64>) -> Self::Batch {
        let x: Vec<f32> = rows.map(|row| row as f32 / 8.0).collect();
        let y = x.iter().map(|x| x.sin()).collect();
        (self.column(x), self.column(y))
    }

    fn misshapen(&self) -> Self::Batch {
        (self.column(vec![0.0; 2]).transpose(), self.column(vec![0.0]))
    }

    fn loss(&self, _: Mode, mlp: &Mlp, (x, y): &Self::Batch) -> Result<Loss<Tensor<1>>, BoxError> {
        let error = mlp.forward(x.clone()) - y.clone();
        Ok(Loss::mean(error.square().mean(), x.dims()[0] as f64))
    }

    fn tolerance(&self) -> f64 {
        2e-6
    }

    fn test_name(&self) -> &str {
        "burn_passes_the_suite"
    }
}

#[test]
fn burn_passes_the_suite() {
    run_all(&OnBurn);
}
