//! The networks and their batches.

use regimen_burn::burn;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};
use regimen_examples::network::ConvNet;

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

/// An epoch of batches with arbitrary contents.
pub(crate) fn batches(size: usize, device: &Device) -> Vec<Batch> {
    let batch = |number: usize| {
        let pixels = (0..size * 64).map(|i| ((i * 31 + number * 7) % 17) as f32 / 16.0).collect();
        let classes = (0..size).map(|i| ((i + number) % 10) as i64).collect();
        let pixels = Tensor::from_data(TensorData::new::<f32, _>(pixels, [size, 64]), device);
        (pixels, Tensor::from_data(TensorData::new::<i64, _>(classes, [size]), device))
    };
    (0..BATCHES).map(batch).collect()
}

/// A perceptron of 64, 32 and 10 units.
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
impl Network for ConvNet {
    const NAME: &'static str = "digits";

    fn new(device: &Device) -> Self {
        ConvNet::new(8, device)
    }

    fn logits(&self, pixels: Tensor<2>) -> Tensor<2> {
        self.forward(pixels.reshape([-1, 8, 8]))
    }
}
