//! A task for `AutoUnit`, with an optimizer, a schedule, clipping and accumulation.
#![allow(clippy::print_stdout, reason = "a program talks to a terminal")]

use regimen::callback::Every;
use regimen::log::MetricLog;
use regimen::schedule::StepDecay;
use regimen::{AutoUnit, BoxError, Fit, Loss, Run, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

type Batch = (ToyArray, ToyArray);

struct Regression;

impl Task<ToyEngine<ToyMlp>> for Regression {
    type Batch = Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        network: &ToyMlp,
        (x, y): &Batch,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        Ok((Loss::mean(network.forward(x).mean_squared_error(y), 2.0), ()))
    }
}

fn main() -> Result<(), BoxError> {
    manual_seed(7);
    let mut vars = ToyVars::new();
    let network = ToyMlp::plain(&mut vars, [1, 8, 1]);
    let engine = ToyEngine::new(vars, network, ToyOptimizer::sgd(0.9));
    let mut unit = AutoUnit::new(engine, Regression)
        .learning_rate_by_epoch(StepDecay::new(0.1, 0.5, 10)?)
        .accumulate(2)
        .clip_norm(1.0);
    let batch = |x: [f64; 2]| (ToyArray::new(&[2, 1], &x), ToyArray::new(&[2, 1], &x.map(|x| 2.0 * x + 1.0)));
    let (train, eval) = ([batch([0.0, 1.0]), batch([2.0, 3.0])], [batch([0.5, 1.5])]);
    let log = MetricLog::jsonl("runs/auto_unit/metrics.jsonl").every(Every::steps(1));
    let report = Run::new(&mut unit).callback(log).fit(&train, &eval, Fit::epochs(40))?;
    println!("{report}");
    Ok(())
}
