//! Digits as tensors of Burn, and their loaders. `runner-real` and `fitloop-full` have them too.

use regimen::data::{Data, DataExt, Loader, Samples};
use regimen_burn::burn::tensor::{Device, Int, Tensor, TensorData};
use regimen_examples::args::Args;
use regimen_examples::digits::{Image, shifted};

/// Images `[batch, side, side]` and their digits `[batch]`.
pub(crate) type Batch = (Tensor<3>, Tensor<1, Int>);

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
