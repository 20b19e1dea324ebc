//! Next-character prediction as a task, and its loaders.

use std::f64::consts::LN_2;

use regimen::auto_unit::StepResults;
use regimen::data::Loader;
use regimen::metric::Key;
use regimen::{BoxError, Loss, State, Step, Task};
use regimen_burn::Burn;
use regimen_burn::burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use regimen_burn::burn::tensor::{Device, Int, Tensor, TensorData};

use crate::args::Args;
use crate::network::Transformer;
use crate::text::Windows;

/// Windows `[batch, context + 1]`.
type Batch = Tensor<2, Int>;

/// Mean bits per character of the evaluated text.
pub(crate) const BITS: Key = Key::mean("eval/bits_per_character");

/// Cross-entropy of the network's logits with the next character, in nats.
pub(crate) struct PredictNext {
    cross_entropy: CrossEntropyLoss,
}

impl PredictNext {
    pub(crate) fn new(device: &Device) -> Self {
        PredictNext { cross_entropy: CrossEntropyLossConfig::new().init(device) }
    }
}

impl Task<Burn<Transformer>> for PredictNext {
    type Batch = Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        network: &Transformer,
        windows: &Batch,
    ) -> Result<(Loss<Tensor<1>>, ()), BoxError> {
        let [batch, length] = windows.dims();
        let context = length - 1;
        let logits = network.forward(windows.clone().narrow(1, 0, context));
        let next: Tensor<1, Int> = windows.clone().narrow(1, 1, context).flatten(0, 1);
        let loss = self.cross_entropy.forward(logits.flatten(0, 1), next);
        Ok((Loss::mean(loss, (batch * context) as f64), ()))
    }

    fn on_eval_step_end(
        &mut self,
        state: &mut State,
        _: &Batch,
        results: StepResults<()>,
    ) -> Result<(), BoxError> {
        state.log(BITS, results.loss()? / LN_2, results.weight);
        Ok(())
    }
}

/// The windows in a new order per epoch.
pub(crate) fn train_loader(windows: Windows, args: &Args) -> Loader<Batch> {
    Loader::collate(windows, batch).batch_size(args.batch_size).shuffle().workers(args.workers)
}

/// The windows in text order.
pub(crate) fn eval_loader(windows: Windows, args: &Args) -> Loader<Batch> {
    Loader::collate(windows, batch).batch_size(args.batch_size).workers(args.workers)
}

/// Creates a batch in host memory; `AutoUnit` moves it to the device.
fn batch(windows: Vec<Vec<u32>>) -> Result<Batch, BoxError> {
    let shape = [windows.len(), windows.first().map_or(0, Vec::len)];
    let characters: Vec<i64> = windows.into_iter().flatten().map(i64::from).collect();
    Ok(Tensor::from_data(TensorData::new(characters, shape), &Device::flex()))
}
