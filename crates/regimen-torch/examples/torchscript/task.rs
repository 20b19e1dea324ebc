//! Reading digits with a script as a task, and its loaders.

use regimen::data::{Loader, map};
use regimen::{BoxError, Data, Key, Loss, PredictTask, Random, State, Step, StepResults, Task};
use regimen_examples::args::Args;
use regimen_examples::digits::{Image, shifted};
use regimen_torch::tch::{Kind, Tensor};
use regimen_torch::{ScriptModule, Torch, failure};

/// Images of shape [batch, side, side] and their digits.
type Batch = (Tensor, Tensor);

/// The share of the evaluated digits that is read right.
const EVAL_ACCURACY: Key = Key::mean("eval/accuracy");

/// Cross-entropy of the script's logits with the digits.
pub(crate) struct ReadDigits;

impl Task<Torch<ScriptModule>> for ReadDigits {
    type Batch = Batch;
    /// The logits, of shape [batch, 10].
    type Output = Tensor;

    fn compute_loss(
        &mut self,
        step: &Step,
        script: &ScriptModule,
        (images, digits): &Batch,
    ) -> Result<(Loss<Tensor>, Tensor), BoxError> {
        let logits = script.forward(&[images], step.is_train())?;
        let loss = logits.cross_entropy_for_logits(digits);
        Ok((Loss::mean(loss, images.size()[0] as f64), logits))
    }

    fn on_eval_step_end(
        &mut self,
        state: &mut State,
        (_, digits): &Batch,
        results: StepResults<Tensor>,
    ) -> Result<(), BoxError> {
        let right = read(&results.output).eq_tensor(digits).to_kind(Kind::Float).mean(Kind::Float);
        state.log(EVAL_ACCURACY, right.double_value(&[]), results.weight);
        Ok(())
    }
}

impl PredictTask<Torch<ScriptModule>> for ReadDigits {
    type Input = Tensor;
    type Prediction = Vec<usize>;

    fn predict(
        &mut self,
        step: &Step,
        script: &ScriptModule,
        images: Tensor,
    ) -> Result<Vec<usize>, BoxError> {
        let logits = script.forward(&[&images], step.is_train())?;
        let digits = Vec::<i64>::try_from(read(&logits)).map_err(failure)?;
        Ok(digits.into_iter().map(|digit| digit as usize).collect())
    }
}

/// The class with the largest logit in each row.
fn read(logits: &Tensor) -> Tensor {
    logits.argmax(1, false)
}

/// The training digits in a new order each epoch, shifted if the flags say so.
pub(crate) fn train_loader(images: Vec<Image>, side: usize, args: &Args) -> impl Data<Batch = Batch> + use<> {
    let augment = args.augment;
    Loader::new(images)
        .batch_size(args.batch_size)
        .shuffle()
        .workers(args.workers)
        .transform(move |(pixels, digit): Image, random: &mut Random| match augment {
            false => (pixels, digit),
            true => {
                let [down, right] = [(); 2].map(|()| random.below(3) as isize - 1);
                (shifted(&pixels, side, down, right), digit)
            }
        })
        .collate(move |images| batch(images, side))
}

/// Digits in their own order.
pub(crate) fn eval_loader(images: Vec<Image>, side: usize, args: &Args) -> impl Data<Batch = Batch> + use<> {
    Loader::new(images)
        .batch_size(args.batch_size)
        .workers(args.workers)
        .collate(move |images| batch(images, side))
}

/// The images without their digits.
pub(crate) fn inputs(data: impl Data<Batch = Batch>) -> impl Data<Batch = Tensor> {
    map(data, |(images, _)| images)
}

/// A batch in host memory; `AutoUnit` moves it to the device.
fn batch(digits: Vec<Image>, side: usize) -> Result<Batch, BoxError> {
    let classes: Vec<i64> = digits.iter().map(|(_, digit)| *digit).collect();
    Ok((images(digits, side)?, Tensor::from_slice(&classes)))
}

/// The images as one tensor of shape [images, side, side].
pub(crate) fn images(digits: Vec<Image>, side: usize) -> Result<Tensor, BoxError> {
    let pixels: Vec<Vec<f32>> = digits.into_iter().map(|(pixels, _)| pixels).collect();
    let side = side as i64;
    Tensor::from_slice(&pixels.concat()).f_view([-1, side, side]).map_err(failure)
}
