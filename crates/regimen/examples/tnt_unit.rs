//! A unit whose step is written by hand, with a log for TensorBoard.

use regimen::callback::Every;
use regimen::engine::Engine;
use regimen::log::MetricLog;
use regimen::metric::Key;
use regimen::run::Train;
use regimen::schedule::{Exponential, Schedule};
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

const LOSS: Key = Key::mean("train/loss");

struct Regression {
    engine: ToyEngine<ToyMlp>,
    schedule: Exponential,
}

impl TrainUnit for Regression {
    type Batch = (ToyArray, ToyArray);

    fn train_step(&mut self, state: &mut State, (x, y): Self::Batch) -> Result<(), BoxError> {
        let loss = self.engine.module().forward(&x).mean_squared_error(&y);
        self.engine.backward(&loss, None)?;
        self.engine.step(&[self.schedule.rate(state.train_progress().epochs)])?;
        state.log(LOSS, self.engine.value(&loss)?, 1.0);
        Ok(())
    }
}

fn main() -> Result<(), BoxError> {
    manual_seed(7);
    let mut vars = ToyVars::new();
    let network = ToyMlp::plain(&mut vars, [1, 8, 1]);
    let engine = ToyEngine::new(vars, network, ToyOptimizer::sgd(0.0));
    let mut unit = Regression { engine, schedule: Exponential::new(0.1, 0.9)? };
    let data = [(ToyArray::new(&[2, 1], &[0.0, 1.0]), ToyArray::new(&[2, 1], &[1.0, 3.0]))];
    let board = MetricLog::tensorboard("runs/unit").every(Every::steps(1));
    Run::new(&mut unit).callback(board).train(&data, Train::epochs(20))?;
    Ok(())
}
