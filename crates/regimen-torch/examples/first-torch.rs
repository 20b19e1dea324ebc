//! A network learns the sine, on libtorch.
use regimen::callback::ProgressBar;
use regimen::checkpoint::Checkpointer;
use regimen::data::Loader;
use regimen::signal::Signals;
use regimen::{AutoUnit, BoxError, Fit, Loss, Run, Step, Task};
use regimen_torch::tch::{Reduction, Tensor, nn, nn::Module};
use regimen_torch::{Adam, Torch, device, initialize, keep_memory};

type Net = nn::Sequential;
struct Sine;

impl Task<Torch<Net>> for Sine {
    type Batch = Tensor;
    type Output = ();
    fn compute_loss(&mut self, _: &Step, net: &Net, x: &Tensor) -> Result<(Loss<Tensor>, ()), BoxError> {
        let loss = net.forward(x).mse_loss(&x.sin(), Reduction::Mean);
        Ok((Loss::mean(loss, x.size()[0] as f64), ()))
    }
}

fn main() -> Result<(), BoxError> {
    keep_memory();
    let (vars, net) = initialize(7, device("cpu")?, |root| {
        let layer = |name: &str, from, to| nn::linear(root / name, from, to, Default::default());
        nn::seq().add(layer("0", 1, 64)).add_fn(|x| x.tanh()).add(layer("2", 64, 1))
    });
    let mut unit = AutoUnit::new(Torch::new(vars, net, Adam::new())?, Sine).learning_rate(0.01);
    let points: Vec<f32> = (-300..300).map(|i| i as f32 / 100.0).collect();
    let batch = |xs: Vec<f32>| Ok(Tensor::from_slice(&xs).view([-1, 1]));
    let data = Loader::collate(points, batch).batch_size(32).shuffle();
    let mut run = Run::new(&mut unit).callback(ProgressBar::new()).saver(Checkpointer::new("runs/first"));
    run.restore_latest()?; // goes on from the newest checkpoint, if there is one
    let _signals = Signals::pause(&run.pause_handle())?;
    run.fit(&data, &data, Fit::epochs(20))?;
    Ok(())
}
