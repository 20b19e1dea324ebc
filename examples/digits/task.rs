//! Digit classification as a task.

use regimen::auto_unit::{PredictTask, StepResults};
use regimen::metric::Key;
use regimen::{BoxError, Loss, State, Step, Task};
use regimen_burn::Burn;
use regimen_burn::burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use regimen_burn::burn::tensor::{Device, Int, Tensor};
use regimen_examples::network::ConvNet;

use crate::loaders::Batch;

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
