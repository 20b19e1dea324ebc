//! The shortest program of a `Runner`: a network reads handwritten digits, on Burn.

use regimen::callback::ProgressBar;
use regimen::data::Loader;
use regimen::run::Evaluate;
use regimen::runner::Runner;
use regimen::{BoxError, Fit};
use regimen_burn::burn::nn::{Linear, LinearConfig};
use regimen_burn::burn::optim::AdamConfig;
use regimen_burn::burn::tensor::activation::relu;
use regimen_burn::burn::tensor::{Device, Int, Tensor, TensorData};
use regimen_burn::{Burn, accuracy, cross_entropy, device, initialize};
use regimen_examples::digits::{Digits, Image, Split};

fn main() -> Result<(), BoxError> {
    let [train, valid, test] = loaders()?;
    let cpu = device("cpu")?;
    let engine = Burn::new(initialize(7, &cpu, network)?, AdamConfig::new().init(), &cpu)?;
    let mut runner = Runner::new(engine, forward, cross_entropy)
        .metric("accuracy", accuracy(1))
        .learning_rate(5e-3)
        .callback(ProgressBar::new());
    runner.fit(&train, &valid, Fit::epochs(5))?;
    println!("{}", runner.evaluate(&test, Evaluate::whole())?);
    Ok(())
}

/// Two dense layers.
type Network = (Linear, Linear);
/// Of shape `[batch, 64]`.
type Images = Tensor<2>;
/// The digits of the images.
type Labels = Tensor<1, Int>;

fn network(device: &Device) -> Network {
    (LinearConfig::new(64, 32).init(device), LinearConfig::new(32, 10).init(device))
}

/// The logits, of shape `[batch, 10]`.
fn forward(network: &Network, images: &Images) -> Tensor<2> {
    network.1.forward(relu(network.0.forward(images.clone())))
}

/// Batches for training, validation and test.
fn loaders() -> Result<[Loader<(Images, Labels)>; 3], BoxError> {
    let batch = |images: Vec<Image>| {
        let (pixels, digits): (Vec<Vec<f32>>, Vec<i64>) = images.into_iter().unzip();
        let cpu = device("cpu")?;
        let pixels = TensorData::new(pixels.concat(), [digits.len(), 64]);
        Ok((Tensor::from_data(pixels, &cpu), Tensor::from_data(&*digits, &cpu)))
    };
    let loader = |images| Loader::collate(images, batch).batch_size(64);
    let Split { train, validation, test } = Digits::bundled()?.split();
    Ok([loader(train).shuffle(), loader(validation), loader(test)])
}
