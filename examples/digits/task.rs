//! Digit classification as a task, and its loaders.

use regimen::auto_unit::{PredictTask, StepResults};
use regimen::data::{Data, DataExt, Loader, Samples};
use regimen::metric::Key;
use regimen::{BoxError, Loss, State, Step, Task};
use regimen_burn::Burn;
use regimen_burn::burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use regimen_burn::burn::tensor::{Device, Int, Tensor, TensorData};
use regimen_examples::args::Args;
use regimen_examples::digits::{Image, shifted};
use regimen_examples::network::ConvNet;

/// Images `[batch, side, side]` and their digits `[batch]`.
type Batch = (Tensor<3>, Tensor<1, Int>);

/// Accuracy on the evaluated digits.
const EVAL_ACCURACY: Key = Key::mean("eval/accuracy");

/// Cross-entropy of the network's logits with the digits.
pub(crate) struct ReadDigits {
    cross_entropy: CrossEntropyLoss,
}

impl ReadDigits {
    pub(crate) fn new(device: &Device) -> Self {
        ReadDigits { cross_entropy: CrossEntropyLossConfig::new().init(device) }
    }
}

impl Task<Burn<ConvNet>> for ReadDigits {
    type Batch = Batch;
    /// The logits `[batch, 10]`.
    type Output = Tensor<2>;

    fn compute_loss(
        &mut self,
        _: &Step,
        network: &ConvNet,
        (images, digits): &Batch,
    ) -> Result<(Loss<Tensor<1>>, Tensor<2>), BoxError> {
        let logits = network.forward(images.clone());
        let loss = self.cross_entropy.forward(logits.clone(), digits.clone());
        Ok((Loss::mean(loss, images.dims()[0] as f64), logits))
    }

    fn on_eval_step_end(
        &mut self,
        state: &mut State,
        (_, digits): &Batch,
        results: StepResults<Tensor<2>>,
    ) -> Result<(), BoxError> {
        let right = read(results.output).equal(digits.clone()).int().sum();
        let right = right.try_into_scalar::<i64>()? as f64;
        state.log(EVAL_ACCURACY, right / results.weight, results.weight);
        Ok(())
    }
}

impl PredictTask<Burn<ConvNet>> for ReadDigits {
    type Input = Tensor<3>;
    type Prediction = Vec<usize>;

    fn predict(&mut self, _: &Step, network: &ConvNet, images: Tensor<3>) -> Result<Vec<usize>, BoxError> {
        let digits = read(network.forward(images)).try_into_data()?;
        Ok(digits.iter::<i64>().map(|digit| digit as usize).collect())
    }
}

/// The class with the largest logit per row.
fn read(logits: Tensor<2>) -> Tensor<1, Int> {
    logits.argmax(1).flatten(0, 1)
}

/// The training digits in a new order per epoch, randomly shifted with `--augment`.
pub(crate) fn train_loader(images: Vec<Image>, side: usize, args: &Args) -> Loader<Batch> {
    let augment = args.augment;
    let images = images.transform(move |(pixels, digit), random| match augment {
        false => (pixels, digit),
        true => {
            let [down, right] = [(); 2].map(|()| random.below(3) as isize - 1);
            (shifted(&pixels, side, down, right), digit)
        }
    });
    Loader::collate(images, move |images| Ok(batch(images, side)))
        .batch_size(args.batch_size)
        .shuffle()
        .workers(args.workers)
}

/// Digits in the order of the source.
pub(crate) fn eval_loader(images: Vec<Image>, side: usize, args: &Args) -> Loader<Batch> {
    Loader::collate(images, move |images| Ok(batch(images, side)))
        .batch_size(args.batch_size)
        .workers(args.workers)
}

/// The images without their digits.
pub(crate) fn inputs(data: impl Data<Batch = Batch>) -> impl Data<Batch = Tensor<3>> {
    data.map_batches(|(images, _)| images)
}

/// Creates a batch in host memory; `AutoUnit` moves it to the device.
fn batch(images: Vec<Image>, side: usize) -> Batch {
    let (pixels, digits): (Vec<Vec<f32>>, Vec<i64>) = images.into_iter().unzip();
    let device = Device::flex();
    let pixels = TensorData::new(pixels.concat(), [digits.len(), side, side]);
    (Tensor::from_data(pixels, &device), Tensor::from_data(digits.as_slice(), &device))
}
