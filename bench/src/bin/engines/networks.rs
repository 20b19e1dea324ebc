//! The networks, each with the one batch that it is trained on.

use regimen::Loss;
use regimen::engine::ToDevice;
use regimen::random::Random;
use regimen_burn::{BurnDevice, burn, burn::optim::ModuleOptimizer};

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, SgdConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};

use crate::transformer::{Size, Transformer};

/// The trait of benchmarked networks, with their batch, loss and optimizer.
pub(crate) trait Network: Module + 'static {
    type Batch: ToDevice<BurnDevice> + Clone + 'static;

    fn new(device: &Device) -> Self;

    /// A batch of `size` samples with arbitrary contents.
    fn batch(size: usize, device: &Device) -> Self::Batch;

    fn loss(&self, batch: &Self::Batch) -> Loss<Tensor<1>>;

    /// Adam with the epsilon of PyTorch, which differs from Burn's.
    fn optimizer() -> ModuleOptimizer {
        AdamConfig::new().with_epsilon(1e-8).init()
    }
}

/// Images of 784 pixels `[batch, 784]` and their classes `[batch]`.
type Digits = (Tensor<2>, Tensor<1, Int>);

/// A perceptron of 784, 512, 256 and 10 units.
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    pub(crate) first: Linear,
    pub(crate) second: Linear,
    pub(crate) output: Linear,
}

impl Network for Mlp {
    type Batch = Digits;

    fn new(device: &Device) -> Self {
        let layer = |from, to| LinearConfig::new(from, to).init(device);
        Mlp { first: layer(784, 512), second: layer(512, 256), output: layer(256, 10) }
    }

    fn batch(size: usize, device: &Device) -> Digits {
        digits(size, device)
    }

    fn loss(&self, (pixels, classes): &Digits) -> Loss<Tensor<1>> {
        let x = relu(self.first.forward(pixels.clone()));
        let x = relu(self.second.forward(x));
        cross_entropy(self.output.forward(x), classes.clone())
    }
}

/// Two 3x3 convolutions, a 2x2 pooling and two dense layers.
#[derive(Module, Debug)]
pub(crate) struct Cnn {
    pub(crate) conv1: Conv2d,
    pub(crate) conv2: Conv2d,
    pub(crate) pool: MaxPool2d,
    pub(crate) dense: Linear,
    pub(crate) output: Linear,
}

impl Network for Cnn {
    type Batch = Digits;

    fn new(device: &Device) -> Self {
        Cnn {
            conv1: Conv2dConfig::new([1, 32], [3, 3]).init(device),
            conv2: Conv2dConfig::new([32, 64], [3, 3]).init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            dense: LinearConfig::new(64 * 144, 128).init(device),
            output: LinearConfig::new(128, 10).init(device),
        }
    }

    fn batch(size: usize, device: &Device) -> Digits {
        digits(size, device)
    }

    fn loss(&self, (pixels, classes): &Digits) -> Loss<Tensor<1>> {
        let x = relu(self.conv1.forward(pixels.clone().reshape([-1, 1, 28, 28])));
        let x = self.pool.forward(relu(self.conv2.forward(x)));
        let x = relu(self.dense.forward(x.flatten::<2>(1, 3)));
        cross_entropy(self.output.forward(x), classes.clone())
    }
}

const CHARS: Size = Size { alphabet: 65, context: 64, width: 128, layers: 4 };

/// The network of the example `chars`, enlarged.
impl Network for Transformer {
    /// Characters and their successors, each `[batch, context]`.
    type Batch = (Tensor<2, Int>, Tensor<2, Int>);

    fn new(device: &Device) -> Self {
        Transformer::new(CHARS, device)
    }

    fn batch(size: usize, device: &Device) -> Self::Batch {
        let mut random = Random::new(7);
        let mut text = || {
            let characters = (0..size * CHARS.context).map(|_| random.below(CHARS.alphabet as u64) as i64);
            let data = TensorData::new::<i64, _>(characters.collect(), [size, CHARS.context]);
            Tensor::from_data(data, device)
        };
        (text(), text())
    }

    fn loss(&self, (characters, following): &Self::Batch) -> Loss<Tensor<1>> {
        let logits = self.forward(characters.clone());
        cross_entropy(logits.flatten(0, 1), following.clone().flatten(0, 1))
    }
}

/// One number to one number, without a target. The step time is the overhead of the trainer.
impl Network for Linear {
    type Batch = Tensor<2>;

    fn new(device: &Device) -> Self {
        LinearConfig::new(1, 1).init(device)
    }

    fn batch(size: usize, device: &Device) -> Tensor<2> {
        Tensor::zeros([size, 1], device)
    }

    fn loss(&self, numbers: &Tensor<2>) -> Loss<Tensor<1>> {
        Loss::mean(self.forward(numbers.clone()).sum(), 1.0)
    }

    fn optimizer() -> ModuleOptimizer {
        SgdConfig::new().init()
    }
}

fn digits(size: usize, device: &Device) -> Digits {
    let mut random = Random::new(7);
    let pixels = (0..size * 784).map(|_| random.uniform() as f32).collect();
    let classes = (0..size).map(|i| (i % 10) as i64).collect();
    let pixels = Tensor::from_data(TensorData::new::<f32, _>(pixels, [size, 784]), device);
    (pixels, Tensor::from_data(TensorData::new::<i64, _>(classes, [size]), device))
}

/// The mean over all rows of `logits`, in single precision.
pub(crate) fn cross_entropy(logits: Tensor<2>, classes: Tensor<1, Int>) -> Loss<Tensor<1>> {
    let ([rows], logits) = (classes.dims(), logits.cast(FloatDType::F32));
    let loss = CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, classes);
    Loss::mean(loss, rows as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_networks_have_as_many_parameters_as_those_of_pytorch() {
        let device = regimen_burn::device("cpu").unwrap();
        assert_eq!(<Mlp as Network>::new(&device).num_params(), 535_818);
        assert_eq!(<Cnn as Network>::new(&device).num_params(), 1_199_882);
        assert_eq!(<Transformer as Network>::new(&device).num_params(), 818_241);
        assert_eq!(<Linear as Network>::new(&device).num_params(), 2);
    }
}
