//! The task of reading digits with a script.

use regimen::auto_unit::{PredictTask, StepResults};
use regimen::metric::Key;
use regimen::{BoxError, Loss, State, Step, Task};
use regimen_torch::tch::{Kind, Tensor};
use regimen_torch::{ScriptModule, Torch, failure};

use crate::loaders::{Batch, read};

/// Accuracy over the evaluated digits.
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
