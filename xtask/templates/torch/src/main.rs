//! Learns a sine. Killed at any moment and started again, it goes on from its newest checkpoint.

use regimen::auto_unit::EVAL_LOSS;
use regimen::callback::{Every, ProgressBar};
use regimen::checkpoint::Checkpointer;
use regimen::data::Loader;
use regimen::log::MetricLog;
use regimen::run::Evaluate;
use regimen::{AutoUnit, BoxError, Fit, Loss, Run, Step, Task};
use regimen_torch::tch::nn::{self, Linear, Module, Path};
use regimen_torch::tch::{Reduction, Tensor};
use regimen_torch::{Adam, Torch, device, initialize};

struct Network {
    hidden: Linear,
    output: Linear,
}

fn network(root: &Path<'_>) -> Network {
    let layer = |name, inputs, outputs| nn::linear(root / name, inputs, outputs, Default::default());
    Network { hidden: layer("hidden", 1, 64), output: layer("output", 64, 1) }
}

/// Numbers and their sines, each of shape [batch, 1].
type Batch = (Tensor, Tensor);

fn batch(x: Vec<f32>) -> Result<Batch, BoxError> {
    let x = Tensor::from_slice(&x).unsqueeze(1);
    let y = (&x * 5).sin();
    Ok((x, y))
}

struct Sine;

impl Task<Torch<Network>> for Sine {
    type Batch = Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        net: &Network,
        (x, y): &Batch,
    ) -> Result<(Loss<Tensor>, ()), BoxError> {
        let guess = net.output.forward(&net.hidden.forward(x).tanh());
        Ok((Loss::mean(guess.mse_loss(y, Reduction::Mean), x.size()[0] as f64), ()))
    }
}

fn main() -> Result<(), BoxError> {
    let numbers = |shift: f32| (0..1000).map(|i| (i as f32 + shift) / 500.0 - 1.0).collect::<Vec<_>>();
    let train = Loader::collate(numbers(0.0), batch).batch_size(32).shuffle();
    let eval = Loader::collate(numbers(0.5), batch).batch_size(32);

    let (vars, network) = initialize(7, device("cpu")?, network);
    let mut unit = AutoUnit::new(Torch::new(vars, network, Adam::new())?, Sine).learning_rate(0.01);
    let mut run = Run::new(&mut unit)
        .seed(7)
        .callback(ProgressBar::new())
        .callback(MetricLog::csv("runs/metrics.csv"))
        .saver(Checkpointer::new("runs").every(Every::steps(50)).keep_last(2));
    run.restore_latest()?;
    run.fit(&train, &eval, Fit::epochs(20))?;

    let report = run.evaluate(&eval, Evaluate::whole())?;
    println!("loss on other numbers: {:.6}", report.metric(EVAL_LOSS).unwrap_or(f64::NAN));
    Ok(())
}
