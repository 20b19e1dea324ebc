//! The networks to train, each with its one batch.

use regimen::engine::ToDevice;
use regimen::{BoxError, Loss, Step, Task};
use regimen_torch::tch::nn::{self, Module, Path};
use regimen_torch::tch::{Device, Kind, Reduction, Tensor};
use regimen_torch::{Adam, Algorithm, Sgd, Torch, TorchDevice};

/// A network with its batch, its loss and its optimizer.
pub(crate) trait Network: Sized + 'static {
    type Batch: Batch;

    fn new(root: &Path<'_>) -> Self;

    /// `size` samples, with values that do not matter.
    fn batch(size: usize) -> Self::Batch;

    fn loss(&self, batch: &Self::Batch, is_train: bool) -> Loss<Tensor>;

    fn algorithm() -> Algorithm {
        Adam::new().into()
    }
}

/// The task that trains a network.
pub(crate) struct Learn;

impl<N: Network> Task<Torch<N>> for Learn {
    type Batch = N::Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        step: &Step,
        network: &N,
        batch: &N::Batch,
    ) -> Result<(Loss<Tensor>, ()), BoxError> {
        Ok((network.loss(batch, step.is_train()), ()))
    }
}

/// The input of one step.
pub(crate) trait Batch: ToDevice<TorchDevice> + 'static {
    /// The same tensors once more, not their data.
    fn share(&self) -> Self;
}

impl Batch for Tensor {
    fn share(&self) -> Self {
        self.shallow_clone()
    }
}

impl Batch for (Tensor, Tensor) {
    fn share(&self) -> Self {
        (self.0.shallow_clone(), self.1.shallow_clone())
    }
}

/// Images of 784 pixels `[size, 784]` and their classes `[size]`.
type Digits = (Tensor, Tensor);

/// 784 to 512 to 256 to 10.
#[derive(Debug)]
pub(crate) struct Mlp {
    pub(crate) first: nn::Linear,
    pub(crate) second: nn::Linear,
    pub(crate) output: nn::Linear,
}

impl Network for Mlp {
    type Batch = Digits;

    fn new(root: &Path<'_>) -> Self {
        Mlp {
            first: linear(&(root / "first"), 784, 512),
            second: linear(&(root / "second"), 512, 256),
            output: linear(&(root / "output"), 256, 10),
        }
    }

    fn batch(size: usize) -> Digits {
        digits(size)
    }

    fn loss(&self, (pixels, classes): &Digits, _is_train: bool) -> Loss<Tensor> {
        let x = self.first.forward(pixels).relu();
        let x = self.second.forward(&x).relu();
        cross_entropy(&self.output.forward(&x), classes)
    }
}

/// Two convolutions of 3 by 3, a pooling of 2 by 2, two dense layers.
#[derive(Debug)]
pub(crate) struct Cnn {
    pub(crate) conv1: nn::Conv2D,
    pub(crate) conv2: nn::Conv2D,
    pub(crate) dense: nn::Linear,
    pub(crate) output: nn::Linear,
}

impl Network for Cnn {
    type Batch = Digits;

    fn new(root: &Path<'_>) -> Self {
        let conv = |name: &str, from: i64, to| {
            let ws_init = uniform(from * 9);
            nn::conv2d(root / name, from, to, 3, nn::ConvConfig { ws_init, ..Default::default() })
        };
        Cnn {
            conv1: conv("conv1", 1, 32),
            conv2: conv("conv2", 32, 64),
            dense: linear(&(root / "dense"), 64 * 144, 128),
            output: linear(&(root / "output"), 128, 10),
        }
    }

    fn batch(size: usize) -> Digits {
        digits(size)
    }

    fn loss(&self, (pixels, classes): &Digits, _is_train: bool) -> Loss<Tensor> {
        let x = self.conv1.forward(&pixels.view([-1, 1, 28, 28])).relu();
        let x = self.conv2.forward(&x).relu().max_pool2d_default(2);
        let x = self.dense.forward(&x.flatten(1, -1)).relu();
        cross_entropy(&self.output.forward(&x), classes)
    }
}

/// One number to one number, without a target: only the cost of the trainer remains.
#[derive(Debug)]
pub(crate) struct Line(nn::Linear);

impl Network for Line {
    type Batch = Tensor;

    fn new(root: &Path<'_>) -> Self {
        Line(linear(root, 1, 1))
    }

    fn batch(size: usize) -> Tensor {
        Tensor::zeros([size as i64, 1], (Kind::Float, Device::Cpu))
    }

    fn loss(&self, numbers: &Tensor, _is_train: bool) -> Loss<Tensor> {
        Loss::mean(self.0.forward(numbers).sum(None::<Kind>), 1.0)
    }

    fn algorithm() -> Algorithm {
        Sgd::new().into()
    }
}

/// A layer with PyTorch's initial weights.
pub(crate) fn linear(path: &Path<'_>, from: i64, to: i64) -> nn::Linear {
    let config = nn::LinearConfig { ws_init: uniform(from), ..Default::default() };
    nn::linear(path, from, to, config)
}

/// PyTorch's initial weights of a layer with so many inputs per output.
fn uniform(inputs: i64) -> nn::Init {
    let bound = (inputs as f64).sqrt().recip();
    nn::Init::Uniform { lo: -bound, up: bound }
}

fn digits(size: usize) -> Digits {
    let size = size as i64;
    let pixels = Tensor::rand([size, 784], (Kind::Float, Device::Cpu));
    (pixels, Tensor::arange(size, (Kind::Int64, Device::Cpu)).remainder(10))
}

/// The mean over all rows of `logits`.
pub(crate) fn cross_entropy(logits: &Tensor, classes: &Tensor) -> Loss<Tensor> {
    let loss = logits.cross_entropy_loss(classes, None::<Tensor>, Reduction::Mean, -100, 0.0);
    Loss::mean(loss, classes.numel() as f64)
}
