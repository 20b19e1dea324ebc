//! Small networks and batches for the tests.

use regimen_burn::burn::module::Module;
use regimen_burn::burn::nn::conv::{Conv2d, Conv2dConfig};
use regimen_burn::burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, LinearLayout};
use regimen_burn::burn::optim::{GradientsParams, ModuleOptimizer};
use regimen_burn::burn::tensor::activation::relu;
use regimen_burn::burn::tensor::{Device, Tensor, TensorData};
use regimen_burn::{Burn, burn};
use regimen_core::BoxError;
use regimen_core::engine::{Engine, Mode, Part};
use regimen_core::saved::{Array, StateDict};

pub(crate) type Outcome = Result<(), BoxError>;

pub(crate) fn device() -> Device {
    regimen_burn::device("cpu").unwrap()
}

/// A convolution, batch norm, and a linear layer that is kept transposed in memory.
#[derive(Module, Debug)]
pub(crate) struct Net {
    conv: Conv2d,
    norm: BatchNorm,
    head: Linear,
}

impl Net {
    pub(crate) fn new(device: &Device) -> Self {
        Net {
            conv: Conv2dConfig::new([1, 2], [3, 3]).init(device),
            norm: BatchNormConfig::new(2).init(device),
            head: LinearConfig::new(8, 3).with_layout(LinearLayout::Col).init(device),
        }
    }

    /// The loss of images 4 by 4.
    pub(crate) fn loss(&self, images: Tensor<4>) -> Tensor<1> {
        let features = relu(self.norm.forward(self.conv.forward(images)));
        self.head.forward::<2>(features.flatten(1, 3)).square().mean()
    }
}

/// `n` images 4 by 4 of numbers that depend on `salt`.
pub(crate) fn images(n: usize, salt: usize, device: &Device) -> Tensor<4> {
    let numbers = (0..n * 16).map(|i| (((i * 37 + salt * 101) % 97) as f32) / 48.0 - 1.0).collect();
    Tensor::from_data(TensorData::new::<f32, _>(numbers, [n, 1, 4, 4]), device)
}

pub(crate) fn engine(optimizer: ModuleOptimizer) -> Burn<Net> {
    Burn::new(Net::new(&device()), optimizer, &device()).unwrap()
}

pub(crate) fn backward(engine: &mut Burn<Net>, salt: usize) {
    let images = images(5, salt, engine.device(Mode::Train).device());
    let loss = engine.with_module(Mode::Train, |net| net.loss(images));
    engine.backward(&loss, None).unwrap();
}

pub(crate) fn step(engine: &mut Burn<Net>, salt: usize) {
    backward(engine, salt);
    engine.step(&[0.01]).unwrap();
}

/// One weight vector; its loss is the sum of the weights times the given factors.
#[derive(Module, Debug)]
pub(crate) struct Weights {
    pub(crate) weights: burn::module::Param<Tensor<1>>,
}

impl Weights {
    pub(crate) fn new(weights: &[f32], device: &Device) -> Self {
        Weights { weights: burn::module::Param::from_data(weights, device) }
    }

    pub(crate) fn values(&self) -> Vec<f32> {
        self.weights.val().into_data().try_to_vec().unwrap()
    }
}

/// An engine on `weights` that holds `gradient`.
pub(crate) fn holding(weights: &[f32], gradient: &[f32], optimizer: ModuleOptimizer) -> Burn<Weights> {
    let mut engine = Burn::new(Weights::new(weights, &device()), optimizer, &device()).unwrap();
    hold(&mut engine, gradient).unwrap();
    engine
}

pub(crate) fn hold(engine: &mut Burn<Weights>, gradient: &[f32]) -> Outcome {
    let mut gradients = StateDict::new();
    gradients.insert("weights", Array::from_slice(gradient))?;
    engine.load_state(Part::Gradients, &gradients)
}

pub(crate) fn held(engine: &Burn<Weights>) -> Vec<f32> {
    engine.state(Part::Gradients).unwrap().array("weights").unwrap().to_vec().unwrap()
}

/// One step of Burn's own on the loss of `images`.
pub(crate) fn by_hand(net: Net, optimizer: &mut ModuleOptimizer, salt: usize) -> Net {
    let loss = net.loss(images(5, salt, &device().autodiff()));
    let gradients = GradientsParams::from_grads(loss.backward(), &net);
    optimizer.step(0.01, net, gradients)
}

pub(crate) fn message<T: std::fmt::Debug>(result: Result<T, BoxError>) -> String {
    result.unwrap_err().to_string()
}
