//! A `FitLoop` with stages of its own: a network reads handwritten digits, on libtorch.

use regimen::BoxError;
use regimen::data::Loader;
use regimen::fitloop::{FitLoop, FitTable, max, record};
use regimen_examples::digits::{Digits, Image, Split};
use regimen_torch::tch::Tensor;
use regimen_torch::tch::nn::{self, Module, Path};
use regimen_torch::{Adam, Torch, correct, cross_entropy, device, initialize};

fn main() -> Result<(), BoxError> {
    let [train, valid, test] = loaders()?;
    let (vars, network) = initialize(7, device("cpu")?, network);
    let engine = Torch::new(vars, network, Adam::new())?;
    let mut trainer = FitLoop::new(engine, forward, cross_entropy)
        .train_data(train)
        .valid_data(valid)
        .test_data(test)
        .step(|s| {
            let logits = s.output();
            Ok((s.loss(&logits)?, record! { running_correct: correct(1, &logits, &s.batch().1) }))
        })
        .epoch_end(|s| Ok(record! { loss: s.mean("loss")?, accuracy: s.sum("running_correct")? / s.size() }))
        .criteria(max("accuracy"))
        .learning_rate(5e-3)
        .callback(FitTable::to(std::io::stdout()));
    trainer.fit(5)?; // ends with the weights of the best validation
    trainer.test()?;
    Ok(())
}

/// Two dense layers.
type Network = (nn::Linear, nn::Linear);

fn network(root: &Path<'_>) -> Network {
    let layer = |name, inputs, outputs| nn::linear(root / name, inputs, outputs, Default::default());
    (layer("hidden", 64, 32), layer("output", 32, 10))
}

/// Images of shape `[batch, 64]` to logits of shape `[batch, 10]`.
fn forward(network: &Network, images: &Tensor) -> Tensor {
    network.1.forward(&network.0.forward(images).relu())
}

/// Batches for training, validation and test.
fn loaders() -> Result<[Loader<(Tensor, Tensor)>; 3], BoxError> {
    let batch = |images: Vec<Image>| {
        let (pixels, digits): (Vec<Vec<f32>>, Vec<i64>) = images.into_iter().unzip();
        Ok((Tensor::from_slice(&pixels.concat()).view([-1, 64]), Tensor::from_slice(&digits)))
    };
    let loader = |images| Loader::collate(images, batch).batch_size(64);
    let Split { train, validation, test } = Digits::bundled()?.split();
    Ok([loader(train).shuffle(), loader(validation), loader(test)])
}
