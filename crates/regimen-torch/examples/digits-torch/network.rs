//! The network of `digits`, on tch.

use regimen_torch::tch::Tensor;
use regimen_torch::tch::nn::{self, Module, Path};

/// Two convolutions, each followed by a max-pooling that halves the side, and two dense layers with
/// dropout: 22,602 parameters for images of 8 by 8 pixels.
#[derive(Debug)]
pub(crate) struct ConvNet {
    conv1: nn::Conv2D,
    conv2: nn::Conv2D,
    dense: nn::Linear,
    output: nn::Linear,
    dropout: f64,
}

impl ConvNet {
    /// For images of `side` by `side` pixels, which is at least 4, and 10 classes. `dropout` is a probability.
    pub(crate) fn new(side: usize, dropout: f64, root: &Path<'_>) -> Self {
        let padded = nn::ConvConfig { padding: 1, ..Default::default() };
        let quarter = (side / 4) as i64;
        ConvNet {
            conv1: nn::conv2d(root / "conv1", 1, 16, 3, padded),
            conv2: nn::conv2d(root / "conv2", 16, 32, 3, padded),
            dense: nn::linear(root / "dense", 32 * quarter * quarter, 128, Default::default()),
            output: nn::linear(root / "output", 128, 10, Default::default()),
            dropout,
        }
    }

    /// Images of shape [batch, side, side] to logits of shape [batch, 10].
    pub(crate) fn forward(&self, images: &Tensor, is_train: bool) -> Tensor {
        let x = images.unsqueeze(1);
        let x = self.conv1.forward(&x).relu().max_pool2d_default(2);
        let x = self.conv2.forward(&x).relu().max_pool2d_default(2);
        let x = x.flatten(1, 3).dropout(self.dropout, is_train);
        let x = self.dense.forward(&x).relu().dropout(self.dropout, is_train);
        self.output.forward(&x)
    }
}
