//! The four kinds of user code: a `Task` that `AutoUnit` trains, a plain unit with a hand-written
//! step, a callback and a closure. Both units fit the same parabola.

use std::time::Instant;

use regimen::auto_unit::EVAL_LOSS;
use regimen::callback::{Event, Every};
use regimen::metric::Key;
use regimen::text::Count;
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{AutoUnit, BoxError, Callback, Fit, Loss, Run, State, Step, Task};
use regimen_burn::burn::module::Module;
use regimen_burn::burn::nn::{Linear, LinearConfig};
use regimen_burn::burn::optim::SgdConfig;
use regimen_burn::burn::tensor::activation::tanh;
use regimen_burn::burn::tensor::{Device, Tensor};
use regimen_burn::{Burn, burn, initialize};

/// An ordinary Burn network.
#[derive(Module, Debug)]
struct Network {
    hidden: Linear,
    output: Linear,
}

impl Network {
    fn new(device: &Device) -> Self {
        let layer = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        Network { hidden: layer(1, 16), output: layer(16, 1) }
    }
}

/// A task computes the loss of a batch. `AutoUnit` handles devices, gradients, accumulation,
/// clipping, schedules, seeding and updates.
struct Regression;

impl Task<Burn<Network>> for Regression {
    type Batch = (Tensor<2>, Tensor<2>);
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        network: &Network,
        (x, y): &Self::Batch,
    ) -> Result<(Loss<Tensor<1>>, ()), BoxError> {
        let found = network.output.forward(tanh(network.hidden.forward(x.clone())));
        let samples = x.dims()[0];
        Ok((Loss::mean((found - y.clone()).powi_scalar(2).mean(), samples as f64), ()))
    }
}

/// A plain unit makes its own step: here by hand, for the coefficients of y = a x^2 + b x + c.
struct Parabola([f64; 3]);

const ERROR: Key = Key::mean("eval/error");

impl Parabola {
    fn error(&self, (x, y): (f64, f64)) -> f64 {
        self.0[0] * x * x + self.0[1] * x + self.0[2] - y
    }
}

impl TrainUnit for Parabola {
    type Batch = (f64, f64);
    fn train_step(&mut self, _: &mut State, point: (f64, f64)) -> Result<(), BoxError> {
        let (error, x) = (self.error(point), point.0);
        self.0.iter_mut().zip([x * x, x, 1.0]).for_each(|(c, slope)| *c -= 0.2 * error * slope);
        Ok(())
    }
}

impl EvalUnit for Parabola {
    type Batch = (f64, f64);
    fn eval_step(&mut self, state: &mut State, point: (f64, f64)) -> Result<(), BoxError> {
        state.log(ERROR, self.error(point).powi(2), 1.0);
        Ok(())
    }
}

/// A callback observes runs of any unit.
struct Stopwatch(Instant);

impl<U> Callback<U> for Stopwatch {
    fn on_train_end(&mut self, state: &mut State, _: &mut U) -> Result<(), BoxError> {
        println!(
            "{} in {:.2} s",
            Count(state.train_progress().steps, "step"),
            self.0.elapsed().as_secs_f64()
        );
        Ok(())
    }
}

/// Fits any unit with both steps. The closure runs after every 20th epoch.
fn show<U, B: Clone>(unit: &mut U, key: &Key, data: &[B]) -> Result<(), BoxError>
where
    U: TrainUnit<Batch = B> + EvalUnit<Batch = B>,
{
    let mut run = Run::new(unit).callback(Stopwatch(Instant::now())).on(
        Event::CycleEnd.every(Every::epochs(20)),
        |state: &mut State, _: &mut U| {
            let error = state.value(key);
            println!(
                "epoch {:3}: mean squared error {:.5}",
                state.train_progress().epochs,
                error.unwrap_or(f64::NAN)
            );
        },
    );
    run.fit(data, data, Fit::epochs(60))?;
    Ok(())
}

fn main() -> Result<(), BoxError> {
    let device = regimen_burn::device("cpu")?;
    let points: Vec<(f64, f64)> = (-8..=8).map(|i| f64::from(i) / 8.0).map(|x| (x, x * x)).collect();
    let column = |i: usize| points.iter().map(|point| [point.0, point.1][i]).collect::<Vec<f64>>();
    let tensor = |i| Tensor::<1>::from_data(column(i).as_slice(), &device).reshape([-1, 1]);
    let batches = vec![(tensor(0), tensor(1)); 10];

    println!("a task, trained by AutoUnit on Burn");
    let engine = Burn::new(initialize(7, &device, Network::new)?, SgdConfig::new().init(), &device)?;
    let mut unit = AutoUnit::new(engine, Regression).learning_rate(0.1).accumulate(2).clip_norm(1.0);
    show(&mut unit, &EVAL_LOSS, &batches)?;

    println!("a plain unit");
    show(&mut Parabola([0.0; 3]), &ERROR, &points)
}
