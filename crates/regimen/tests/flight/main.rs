//! The flight recorder and the replay of a step, over a network of the toy engine.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

mod recorder;
mod replay;

use std::sync::{Arc, Mutex};

use regimen::callback::Flight;
use regimen::data::{Loader, indices};
use regimen::{AutoUnit, BoxError, Loss, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

/// The indices of its samples, and those as inputs of the network.
type Batch = (Vec<usize>, ToyArray);

/// The samples of each step and its loss, as the task sees them.
type Seen = Arc<Mutex<Vec<(Vec<usize>, f64)>>>;

/// Learns a sine.
struct Sine(Seen);

impl Task<ToyEngine<ToyMlp>> for Sine {
    type Batch = Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        step: &Step,
        mlp: &ToyMlp,
        (indices, x): &Batch,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        let y: Vec<f64> = x.values().iter().map(|x| x.sin()).collect();
        let loss = mlp.forward(x).mean_squared_error(&ToyArray::new(x.shape(), &y));
        if step.is_train() {
            self.0.lock().unwrap().push((indices.clone(), loss.values()[0]));
        }
        Ok((Loss::mean(loss, indices.len() as f64), ()))
    }
}

type Unit = AutoUnit<ToyEngine<ToyMlp>, Sine>;

/// A network with dropout, with the same weights each time. `reads_later` leaves losses on the device.
fn unit(seen: &Seen, reads_later: bool) -> Unit {
    manual_seed(1);
    let mut vars = ToyVars::new();
    let mlp = ToyMlp::regularized(&mut vars, [1, 8, 1], 0.3);
    let engine = ToyEngine::new(vars, mlp, ToyOptimizer::adam_w(0.01));
    let engine = if reads_later { engine.reads_later() } else { engine };
    AutoUnit::new(engine, Sine(seen.clone())).learning_rate(|update: u64| 0.01 / (update + 1) as f64)
}

/// 10 samples in 3 batches an epoch. The sample `poisoned` is not a number.
fn data(poisoned: Option<usize>) -> Loader<Batch> {
    let input = move |&index: &usize| if Some(index) == poisoned { f64::NAN } else { index as f64 / 4.0 };
    let batch = move |indices: Vec<usize>| {
        let x: Vec<f64> = indices.iter().map(input).collect();
        Ok((indices, ToyArray::new(&[x.len(), 1], &x)))
    };
    Loader::collate(indices(10), batch).batch_size(4).shuffle()
}

/// A line per recorded step, without times.
fn told(flight: &Flight) -> Vec<String> {
    let line = |step: &regimen::callback::FlightStep| {
        let times = [step.data_seconds, step.step_seconds].map(|time| time.is_some());
        assert_eq!(times[1], step.complete);
        format!(
            "{} {}/{} {} {} {:?} {:?}",
            step.step, step.epoch, step.batch, step.samples, step.complete, step.metrics, step.indices
        )
    };
    flight.steps.iter().map(line).collect()
}

/// The lines of complete steps that saw these samples and losses, from step `first` on, in epochs of 3 batches.
fn expected(first: usize, seen: &[(Vec<usize>, f64)]) -> Vec<String> {
    let line = |(n, (indices, loss)): (usize, &(Vec<usize>, f64))| {
        let (epoch, batch, samples) = (n / 3, n % 3, indices.len());
        format!("{} {epoch}/{batch} {samples} true {{\"train/loss\": {loss:?}}} Some({indices:?})", n + 1)
    };
    seen.iter().enumerate().skip(first - 1).map(line).collect()
}
