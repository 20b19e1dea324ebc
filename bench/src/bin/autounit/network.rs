//! The networks that are trained, and what they are trained on.

use regimen_burn::burn;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::BATCHES;

/// Images of 64 pixels `[batch, 64]` and their classes `[batch]`.
pub(crate) type Batch = (Tensor<2>, Tensor<1, Int>);

/// A network from 64 pixels to 10 logits.
pub(crate) trait Network: Module {
    const NAME: &'static str;

    fn new(device: &Device) -> Self;

    /// `[batch, 64]` to `[batch, 10]`.
    fn logits(&self, pixels: Tensor<2>) -> Tensor<2>;
}

/// An epoch of batches. What is in them does not matter here.
pub(crate) fn batches(size: usize, device: &Device) -> Vec<Batch> {
    let batch = |number: usize| {
        let pixels = (0..size * 64).map(|i| ((i * 31 + number * 7) % 17) as f32 / 16.0).collect();
        let classes = (0..size).map(|i| ((i + number) % 10) as i64).collect();
        let pixels = Tensor::from_data(TensorData::new::<f32, _>(pixels, [size, 64]), device);
        (pixels, Tensor::from_data(TensorData::new::<i64, _>(classes, [size]), device))
    };
    (0..BATCHES).map(batch).collect()
}

/// 64 to 32 to 10.
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    hidden: Linear,
    output: Linear,
}

impl Network for Mlp {
    const NAME: &'static str = "mlp";

    fn new(device: &Device) -> Self {
        Mlp { hidden: LinearConfig::new(64, 32).init(device), output: LinearConfig::new(32, 10).init(device) }
    }

    fn logits(&self, pixels: Tensor<2>) -> Tensor<2> {
        self.output.forward(relu(self.hidden.forward(pixels)))
    }
}

/// The network of the example `digits`.
#[derive(Module, Debug)]
pub(crate) struct Digits {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    dropout: Dropout,
    hidden: Linear,
    output: Linear,
}

impl Network for Digits {
    const NAME: &'static str = "digits";

    fn new(device: &Device) -> Self {
        let conv =
            |channels| Conv2dConfig::new(channels, [3, 3]).with_padding(PaddingConfig2d::Same).init(device);
        Digits {
            conv1: conv([1, 16]),
            conv2: conv([16, 32]),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            dropout: DropoutConfig::new(0.25).init(),
            hidden: LinearConfig::new(32 * 4 * 4, 128).init(device),
            output: LinearConfig::new(128, 10).init(device),
        }
    }

    fn logits(&self, pixels: Tensor<2>) -> Tensor<2> {
        let images = pixels.reshape([-1, 1, 8, 8]);
        let features = relu(self.conv2.forward(relu(self.conv1.forward(images))));
        let features = self.pool.forward(features).flatten(1, 3);
        self.output.forward(self.dropout.forward(relu(self.hidden.forward(features))))
    }
}
