//! The networks of the examples and the benchmarks.

use regimen_burn::burn;
use regimen_burn::burn::module::Module;
use regimen_burn::burn::nn::conv::{Conv2d, Conv2dConfig};
use regimen_burn::burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use regimen_burn::burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig, PaddingConfig2d, Relu};
use regimen_burn::burn::tensor::{Device, Tensor};

/// Two convolutions, each followed by a max-pooling that halves the side, and two dense layers with
/// dropout. 22,602 parameters for images of 8x8 pixels.
#[derive(Module, Debug)]
pub struct ConvNet {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    dropout: Dropout,
    dense: Linear,
    output: Linear,
}

impl ConvNet {
    /// Creates a network for images of `side` by `side` pixels and 10 classes. `side` is at least 4.
    pub fn new(side: usize, device: &Device) -> Self {
        let conv = |from, to| {
            Conv2dConfig::new([from, to], [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(device)
        };
        ConvNet {
            conv1: conv(1, 16),
            conv2: conv(16, 32),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            dropout: DropoutConfig::new(0.25).init(),
            dense: LinearConfig::new(32 * (side / 4) * (side / 4), 128).init(device),
            output: LinearConfig::new(128, 10).init(device),
        }
    }

    /// Sets the probability of dropout. Default: 0.25.
    pub fn dropout(self, probability: f64) -> Self {
        ConvNet { dropout: DropoutConfig::new(probability).init(), ..self }
    }

    /// Images `[batch, side, side]` to logits `[batch, 10]`.
    pub fn forward(&self, images: Tensor<3>) -> Tensor<2> {
        let relu = Relu::new();
        let x = images.unsqueeze_dim::<4>(1);
        let x = self.pool.forward(relu.forward(self.conv1.forward(x)));
        let x = self.pool.forward(relu.forward(self.conv2.forward(x)));
        let x = self.dropout.forward(x.flatten::<2>(1, 3));
        let x = self.dropout.forward(relu.forward(self.dense.forward(x)));
        self.output.forward(x)
    }
}
