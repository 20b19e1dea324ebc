//! A network learns the sine, on Burn.
use regimen::callback::ProgressBar;
use regimen::checkpoint::Checkpointer;
use regimen::data::Loader;
use regimen::signal::Signals;
use regimen::{AutoUnit, BoxError, Fit, Loss, Run, Step, Task};
use regimen_burn::burn::{nn::Linear, nn::LinearConfig, optim::AdamConfig, tensor::Tensor};
use regimen_burn::{Burn, device, initialize};

type Net = (Linear, Linear);
type Points = Tensor<2>;
struct Sine;

impl Task<Burn<Net>> for Sine {
    type Batch = Points;
    type Output = ();
    fn compute_loss(&mut self, _: &Step, net: &Net, x: &Points) -> Result<(Loss<Tensor<1>>, ()), BoxError> {
        let error = net.1.forward(net.0.forward(x.clone()).tanh()) - x.clone().sin();
        Ok((Loss::mean(error.powi_scalar(2).mean(), x.dims()[0] as f64), ()))
    }
}

fn main() -> Result<(), BoxError> {
    let (cpu, layer) = (device("cpu")?, LinearConfig::new);
    let net = initialize(7, &cpu, |cpu| (layer(1, 64).init(cpu), layer(64, 1).init(cpu)))?;
    let mut unit = AutoUnit::new(Burn::new(net, AdamConfig::new().init(), &cpu)?, Sine).learning_rate(0.01);
    let points: Vec<f32> = (-300..300).map(|i| i as f32 / 100.0).collect();
    let batch = |xs: Vec<f32>| Ok(Tensor::<1>::from_floats(&*xs, &device("cpu")?).reshape([-1, 1]));
    let data = Loader::collate(points, batch).batch_size(32).shuffle();
    let mut run = Run::new(&mut unit).callback(ProgressBar::new()).saver(Checkpointer::new("runs/first"));
    run.restore_latest()?; // goes on from the newest checkpoint, if there is one
    let _signals = Signals::pause(&run.pause_handle())?;
    run.fit(&data, &data, Fit::epochs(20))?;
    Ok(())
}
