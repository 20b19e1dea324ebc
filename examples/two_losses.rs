//! Two inputs and two losses: a network reads a digit from the halves of its image, and says how
//! much ink is on it. The batch is a struct; the task adds the losses and logs each by itself.

use regimen::auto_unit::StepResults;
use regimen::data::Loader;
use regimen::engine::ToDevice;
use regimen::metric::Key;
use regimen::{AutoUnit, BoxError, Fit, Loss, Run, State, Step, Task};
use regimen_burn::burn::module::Module;
use regimen_burn::burn::nn::loss::CrossEntropyLossConfig;
use regimen_burn::burn::nn::{Linear, LinearConfig};
use regimen_burn::burn::optim::AdamConfig;
use regimen_burn::burn::tensor::{Int, Tensor, TensorData};
use regimen_burn::{Burn, burn, device, initialize};
use regimen_examples::digits::{Digits, Image, Split};

const DIGIT_LOSS: Key = Key::mean("eval/digit_loss");
const INK_LOSS: Key = Key::mean("eval/ink_loss");

/// An arm per input and a head per loss.
#[derive(Module, Debug)]
struct Network {
    upper: Linear,
    lower: Linear,
    digit: Linear,
    ink: Linear,
}

#[derive(ToDevice)]
struct Batch {
    /// The upper and the lower half of each image, `[batch, 32]`.
    upper: Tensor<2>,
    lower: Tensor<2>,
    digits: Tensor<1, Int>,
    /// The mean of the pixels, `[batch, 1]`.
    ink: Tensor<2>,
}

struct Read;

impl Task<Burn<Network>> for Read {
    type Batch = Batch;
    /// Both losses of the batch.
    type Output = [Tensor<1>; 2];

    fn compute_loss(
        &mut self,
        _: &Step,
        network: &Network,
        batch: &Batch,
    ) -> Result<(Loss<Tensor<1>>, [Tensor<1>; 2]), BoxError> {
        let upper = network.upper.forward(batch.upper.clone());
        let features = (upper + network.lower.forward(batch.lower.clone())).tanh();
        let logits = network.digit.forward(features.clone());
        let digit =
            CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, batch.digits.clone());
        let ink = (network.ink.forward(features) - batch.ink.clone()).powi_scalar(2).mean();
        let loss = digit.clone() + ink.clone() * 10.0;
        Ok((Loss::mean(loss, batch.ink.dims()[0] as f64), [digit, ink]))
    }

    fn on_eval_step_end(
        &mut self,
        state: &mut State,
        _: &Batch,
        results: StepResults<[Tensor<1>; 2]>,
    ) -> Result<(), BoxError> {
        for (key, loss) in [DIGIT_LOSS, INK_LOSS].into_iter().zip(results.output) {
            state.log(key, loss.try_into_scalar::<f64>()?, results.weight);
        }
        Ok(())
    }
}

fn loader(images: Vec<Image>) -> Loader<Batch> {
    let batch = |images: Vec<Image>| {
        let cpu = device("cpu")?;
        let digits: Vec<i64> = images.iter().map(|(_, digit)| *digit).collect();
        let ink: Vec<f32> = images.iter().map(|(pixels, _)| pixels.iter().sum::<f32>() / 64.0).collect();
        let half = |rows: std::ops::Range<usize>| {
            let pixels: Vec<f32> =
                images.iter().flat_map(|(pixels, _)| pixels[rows.clone()].to_vec()).collect();
            Tensor::from_data(TensorData::new(pixels, [images.len(), 32]), &cpu)
        };
        Ok(Batch {
            upper: half(0..32),
            lower: half(32..64),
            digits: Tensor::from_data(digits.as_slice(), &cpu),
            ink: Tensor::<1>::from_floats(ink.as_slice(), &cpu).reshape([-1, 1]),
        })
    };
    Loader::collate(images, batch).batch_size(64).shuffle()
}

fn main() -> Result<(), BoxError> {
    let cpu = device("cpu")?;
    let layer = |inputs, outputs| LinearConfig::new(inputs, outputs).init(&cpu);
    let network = initialize(7, &cpu, |_| Network {
        upper: layer(32, 32),
        lower: layer(32, 32),
        digit: layer(32, 10),
        ink: layer(32, 1),
    })?;
    let engine = Burn::new(network, AdamConfig::new().init(), &cpu)?;
    let mut unit = AutoUnit::new(engine, Read).learning_rate(5e-3);
    let Split { train, validation, .. } = Digits::bundled()?.split();
    let report = Run::new(&mut unit).fit(&loader(train), &loader(validation), Fit::epochs(10))?;
    let loss = |key: &Key| report.metric(key).ok_or_else(|| format!("`{key}` was not measured"));
    let (digit, ink) = (loss(&DIGIT_LOSS)?, loss(&INK_LOSS)?);
    println!("loss of the digit {digit:.4}, of the ink {ink:.6}");
    if digit < 0.5 && ink < 1e-3 { Ok(()) } else { Err("the network has not learned both".into()) }
}
