//! Digits as tensors of libtorch, and their loaders. The example `torchscript` has them too.

use regimen::BoxError;
use regimen::data::{Data, DataExt, Loader, Samples};
use regimen_examples::args::Args;
use regimen_examples::digits::{Image, shifted};
use regimen_torch::failure;
use regimen_torch::tch::Tensor;

/// Images of shape [batch, side, side] and their digits.
pub(crate) type Batch = (Tensor, Tensor);

/// The class with the largest logit in each row.
pub(crate) fn read(logits: &Tensor) -> Tensor {
    logits.argmax(1, false)
}

/// The training digits in a new order each epoch, shifted if the flags say so.
pub(crate) fn train_loader(images: Vec<Image>, side: usize, args: &Args) -> Loader<Batch> {
    let augment = args.augment;
    let images = images.transform(move |(pixels, digit), random| match augment {
        false => (pixels, digit),
        true => {
            let [down, right] = [(); 2].map(|()| random.below(3) as isize - 1);
            (shifted(&pixels, side, down, right), digit)
        }
    });
    Loader::collate(images, move |images| batch(images, side))
        .batch_size(args.batch_size)
        .shuffle()
        .workers(args.workers)
}

/// Digits in their own order.
pub(crate) fn eval_loader(images: Vec<Image>, side: usize, args: &Args) -> Loader<Batch> {
    Loader::collate(images, move |images| batch(images, side))
        .batch_size(args.batch_size)
        .workers(args.workers)
}

/// The images without their digits.
pub(crate) fn inputs(data: impl Data<Batch = Batch>) -> impl Data<Batch = Tensor> {
    data.map_batches(|(images, _)| images)
}

/// A batch in host memory; `AutoUnit` moves it to the device.
fn batch(digits: Vec<Image>, side: usize) -> Result<Batch, BoxError> {
    let classes: Vec<i64> = digits.iter().map(|(_, digit)| *digit).collect();
    Ok((images(digits, side)?, Tensor::from_slice(&classes)))
}

/// The images as one tensor, of shape [images, side, side].
pub(crate) fn images(digits: Vec<Image>, side: usize) -> Result<Tensor, BoxError> {
    let pixels: Vec<Vec<f32>> = digits.into_iter().map(|(pixels, _)| pixels).collect();
    let side = side as i64;
    Tensor::from_slice(&pixels.concat()).f_view([-1, side, side]).map_err(failure)
}
