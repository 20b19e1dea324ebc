//! Reading the bundled digits with a small network on Burn: the unit and the loader of the recipes
//! whose subject is something else.

use regimen::auto_unit::StepResults;
use regimen::data::{Dataset, Loader};
use regimen::metric::Key;
use regimen::{AutoUnit, BoxError, Loss, State, Step, Task};
use regimen_burn::burn::module::Module;
use regimen_burn::burn::nn::loss::CrossEntropyLossConfig;
use regimen_burn::burn::nn::{Linear, LinearConfig, Relu};
use regimen_burn::burn::optim::AdamConfig;
use regimen_burn::burn::tensor::{Device, Int, Tensor, TensorData};
use regimen_burn::{Burn, burn, device, initialize};

use crate::digits::Image;

/// Images of shape `[batch, 64]` and their digits.
pub type Batch = (Tensor<2>, Tensor<1, Int>);

/// The share of the evaluated digits that is read right.
pub const EVAL_ACCURACY: Key = Key::mean("eval/accuracy");

/// Two dense layers: 64 pixels to 10 logits.
#[derive(Module, Debug)]
pub struct Mlp {
    hidden: Linear,
    output: Linear,
}

impl Mlp {
    /// With 32 hidden units.
    pub fn new(device: &Device) -> Self {
        let layer = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        Mlp { hidden: layer(64, 32), output: layer(32, 10) }
    }

    /// Images of shape `[batch, 64]` to logits of shape `[batch, 10]`.
    pub fn forward(&self, images: Tensor<2>) -> Tensor<2> {
        self.output.forward(Relu::new().forward(self.hidden.forward(images)))
    }
}

/// Cross-entropy of the logits with the digits, and the accuracy in evaluations.
#[derive(Debug)]
pub struct ReadDigits;

impl Task<Burn<Mlp>> for ReadDigits {
    type Batch = Batch;
    /// The logits, of shape `[batch, 10]`.
    type Output = Tensor<2>;

    fn compute_loss(
        &mut self,
        _: &Step,
        network: &Mlp,
        (images, digits): &Batch,
    ) -> Result<(Loss<Tensor<1>>, Tensor<2>), BoxError> {
        let logits = network.forward(images.clone());
        let loss =
            CrossEntropyLossConfig::new().init(&logits.device()).forward(logits.clone(), digits.clone());
        Ok((Loss::mean(loss, images.dims()[0] as f64), logits))
    }

    fn on_eval_step_end(
        &mut self,
        state: &mut State,
        (_, digits): &Batch,
        results: StepResults<Tensor<2>>,
    ) -> Result<(), BoxError> {
        let right = results.output.argmax(1).flatten::<1>(0, 1).equal(digits.clone()).int().sum();
        let right = right.try_into_scalar::<i64>()? as f64;
        state.log(EVAL_ACCURACY, right / results.weight, results.weight);
        Ok(())
    }
}

/// A new network on the CPU, trained by Adam; `seed` sets its weights.
pub fn unit(seed: u64) -> Result<AutoUnit<Burn<Mlp>, ReadDigits>, BoxError> {
    let cpu = device("cpu")?;
    let engine = Burn::new(initialize(seed, &cpu, Mlp::new)?, AdamConfig::new().init(), &cpu)?;
    Ok(AutoUnit::new(engine, ReadDigits).learning_rate(5e-3))
}

/// Batches of 64 digits, in a new order each epoch.
pub fn loader(images: impl Dataset<Item = Image> + 'static) -> Loader<Batch> {
    Loader::collate(images, |images| Ok(batch(images))).batch_size(64).shuffle()
}

/// A batch in host memory; `AutoUnit` moves it to the device.
pub fn batch(images: Vec<Image>) -> Batch {
    let (pixels, digits): (Vec<Vec<f32>>, Vec<i64>) = images.into_iter().unzip();
    let device = Device::flex();
    let pixels = TensorData::new(pixels.concat(), [digits.len(), 64]);
    (Tensor::from_data(pixels, &device), Tensor::from_data(digits.as_slice(), &device))
}
