//! Learns a sine. Killed at any moment and started again, it goes on from its newest checkpoint.

use regimen::auto_unit::EVAL_LOSS;
use regimen::callback::{Every, ProgressBar};
use regimen::checkpoint::Checkpointer;
use regimen::data::Loader;
use regimen::log::MetricLog;
use regimen::run::Evaluate;
use regimen::{AutoUnit, BoxError, Fit, Loss, Run, Step, Task};
use regimen_burn::burn::nn::{Linear, LinearConfig, loss::MseLoss, loss::Reduction};
use regimen_burn::burn::tensor::{Device, Tensor};
use regimen_burn::burn::{self, module::Module, optim::AdamConfig};
use regimen_burn::{Burn, device, initialize};

#[derive(Module, Debug)]
struct Network {
    hidden: Linear,
    output: Linear,
}

fn network(device: &Device) -> Network {
    let layer = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
    Network { hidden: layer(1, 64), output: layer(64, 1) }
}

/// Numbers and their sines, each of shape [batch, 1].
type Batch = (Tensor<2>, Tensor<2>);

fn batch(x: Vec<f32>) -> Result<Batch, BoxError> {
    let x = Tensor::<1>::from_floats(x.as_slice(), &device("cpu")?).unsqueeze_dim::<2>(1);
    Ok((x.clone(), (x * 5).sin()))
}

struct Sine;

impl Task<Burn<Network>> for Sine {
    type Batch = Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        net: &Network,
        (x, y): &Batch,
    ) -> Result<(Loss<Tensor<1>>, ()), BoxError> {
        let guess = net.output.forward(net.hidden.forward(x.clone()).tanh());
        let loss = MseLoss::new().forward(guess, y.clone(), Reduction::Mean);
        Ok((Loss::mean(loss, x.dims()[0] as f64), ()))
    }
}

fn main() -> Result<(), BoxError> {
    let numbers = |shift: f32| (0..1000).map(|i| (i as f32 + shift) / 500.0 - 1.0).collect::<Vec<_>>();
    let train = Loader::collate(numbers(0.0), batch).batch_size(32).shuffle();
    let eval = Loader::collate(numbers(0.5), batch).batch_size(32);

    let device = device("cpu")?;
    let engine = Burn::new(initialize(7, &device, network)?, AdamConfig::new().init(), &device)?;
    let mut unit = AutoUnit::new(engine, Sine).learning_rate(0.01);
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
