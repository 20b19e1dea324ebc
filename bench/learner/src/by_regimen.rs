//! The training by `Run::fit`.

use std::path::Path;

use regimen::auto_unit::{EVAL_LOSS, StepResults};
use regimen::callback::{Every, ProgressBar};
use regimen::checkpoint::Checkpointer;
use regimen::data::Loader;
use regimen::log::MetricLog;
use regimen::metric::Key;
use regimen::{AutoUnit, BoxError, Fit, Loss, Run, State, Step, Task};
use regimen_burn::burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use regimen_burn::burn::optim::AdamConfig;
use regimen_burn::burn::tensor::{Device, Int, Tensor};
use regimen_burn::{Burn, initialize};
use regimen_examples::network::ConvNet;

use crate::data::{Batch, Images, SIDE, batch};
use crate::{BATCH, LEARNING_RATE, SEED};

const TRAIN_ACCURACY: Key = Key::mean("train/accuracy");
const EVAL_ACCURACY: Key = Key::mean("eval/accuracy");

/// The last accuracy of an evaluation.
pub(crate) fn train(images: Images, epochs: usize, out: &Path) -> Result<f64, BoxError> {
    let device = regimen_burn::device("cpu")?;
    let loader =
        |images| Loader::collate(images, |images| Ok(batch(images, &Device::flex()))).batch_size(BATCH);
    let (train, valid) = (loader(images.train).shuffle(), loader(images.valid));
    let network = initialize(SEED, &device, |device| ConvNet::new(SIDE, device))?;
    let engine = Burn::new(network, AdamConfig::new().init(), &device)?;
    let task = Classify { loss: CrossEntropyLossConfig::new().init(&device) };
    let mut unit = AutoUnit::new(engine, task).learning_rate(LEARNING_RATE);
    let saver = Checkpointer::new(out).every(Every::epochs(1)).keep_last(2).keep_min(1, EVAL_LOSS);
    let mut run = Run::new(&mut unit)
        .seed(SEED)
        .callback(ProgressBar::new())
        // As often as burn-train writes.
        .callback(MetricLog::csv(out.join("metrics.csv")).every(Every::steps(1).or(Every::epochs(1))))
        .saver(saver);
    let report = run.fit(&train, &valid, Fit::epochs(epochs as u64))?;
    report.metric(EVAL_ACCURACY).ok_or_else(|| "there was no evaluation".into())
}

struct Classify {
    loss: CrossEntropyLoss,
}

impl Task<Burn<ConvNet>> for Classify {
    type Batch = Batch;
    /// The logits, of shape [batch, 10].
    type Output = Tensor<2>;

    fn compute_loss(
        &mut self,
        _: &Step,
        network: &ConvNet,
        (images, digits): &Batch,
    ) -> Result<(Loss<Tensor<1>>, Tensor<2>), BoxError> {
        let logits = network.forward(images.clone());
        let loss = self.loss.forward(logits.clone(), digits.clone());
        Ok((Loss::mean(loss, digits.dims()[0] as f64), logits))
    }

    fn on_train_step_end(
        &mut self,
        state: &mut State,
        (_, digits): &Batch,
        results: StepResults<Tensor<2>>,
    ) -> Result<(), BoxError> {
        state.log(TRAIN_ACCURACY, accuracy(results.output, digits)?, results.weight);
        Ok(())
    }

    fn on_eval_step_end(
        &mut self,
        state: &mut State,
        (_, digits): &Batch,
        results: StepResults<Tensor<2>>,
    ) -> Result<(), BoxError> {
        state.log(EVAL_ACCURACY, accuracy(results.output, digits)?, results.weight);
        Ok(())
    }
}

fn accuracy(logits: Tensor<2>, digits: &Tensor<1, Int>) -> Result<f64, BoxError> {
    let right = logits.argmax(1).flatten::<1>(0, 1).equal(digits.clone()).int().sum();
    Ok(right.try_into_scalar::<i64>()? as f64 / digits.dims()[0] as f64)
}
