//! A small step on the toy engine, written in several ways: the difference is the cost of the interface.

use regimen::auto_unit::TRAIN_LOSS;
use regimen::engine::{Engine, Mode, Value};
use regimen::fitloop::FitLoop;
use regimen::metric::Key;
use regimen::random::keyed;
use regimen::run::Train;
use regimen::runner::Runner;
use regimen::unit::TrainUnit;
use regimen::{AutoUnit, BoxError, Loss, Run, State, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyLinear, ToyOptimizer, ToyVars};

/// The way in which the step is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// A unit by hand, which calls the engine.
    Hand,
    /// A task of [`AutoUnit`].
    AutoUnit,
    /// [`Runner`].
    Runner,
    /// [`FitLoop`], with its default step.
    FitLoop,
}

impl Interface {
    /// All of them, the one by hand first.
    pub const ALL: [Interface; 4] =
        [Interface::Hand, Interface::AutoUnit, Interface::Runner, Interface::FitLoop];
}

const METRIC: Key = Key::mean("train/output");

type Toy = ToyEngine<ToyLinear>;

/// Trains a linear layer with one input for `steps` steps of one epoch, each with a batch of one sample. Each step seeds
/// the device, reads the loss, checks that it is finite, and logs it; with `metric` it logs one number more.
pub fn small_run(interface: Interface, metric: bool, steps: usize) -> Result<(), BoxError> {
    let mut vars = ToyVars::new();
    let layer = ToyLinear::new(&mut vars, "layer", 1, 1);
    let engine = ToyEngine::new(vars, layer, ToyOptimizer::sgd(0.0));
    let array = |value| ToyArray::new(&[1, 1], &[value]);
    let data = vec![(array(1.0), array(2.0)); steps];
    let forward = |layer: &ToyLinear, x: &ToyArray| layer.forward(x);
    let criterion = |output: &ToyArray, y: &ToyArray| output.mean_squared_error(y);
    match interface {
        Interface::Hand => {
            Run::new(&mut ByHand { engine, metric }).train(&data, Train::epochs(1))?;
        }
        Interface::AutoUnit => {
            Run::new(&mut AutoUnit::new(engine, ByTask { metric })).train(&data, Train::epochs(1))?;
        }
        Interface::Runner => {
            let runner = Runner::new(engine, forward, criterion);
            let mut runner = if metric { runner.metric("output", measure) } else { runner };
            runner.train(&data, Train::epochs(1))?;
        }
        Interface::FitLoop => {
            let trainer = FitLoop::new(engine, forward, criterion).train_data(data);
            let mut trainer = if metric { trainer.metric("output", measure) } else { trainer };
            trainer.fit(1)?;
        }
    }
    Ok(())
}

fn measure(output: &ToyArray, _: &ToyArray) -> f64 {
    output.shape().len() as f64
}

struct ByHand {
    engine: Toy,
    metric: bool,
}

impl TrainUnit for ByHand {
    type Batch = (ToyArray, ToyArray);

    fn train_step(&mut self, state: &mut State, (x, y): (ToyArray, ToyArray)) -> Result<(), BoxError> {
        self.engine.seed(keyed(state.seed(), "step", 0, state.train_progress().steps));
        let (output, loss) = self.engine.with_module(Mode::Train, |layer| {
            let output = layer.forward(&x);
            let loss = output.mean_squared_error(&y);
            (output, loss)
        });
        let value = self.engine.value(&loss)?;
        if !value.is_finite() {
            return Err(format!("the loss is {value}").into());
        }
        self.engine.backward(&loss, None)?;
        self.engine.step(&[1e-3])?;
        state.log(TRAIN_LOSS, value, 1.0);
        if self.metric {
            state.log(METRIC, measure(&output, &y), 1.0);
        }
        Ok(())
    }
}

struct ByTask {
    metric: bool,
}

impl Task<Toy> for ByTask {
    type Batch = (ToyArray, ToyArray);
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        layer: &ToyLinear,
        (x, y): &(ToyArray, ToyArray),
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        let output = layer.forward(x);
        let loss = Loss::mean(output.mean_squared_error(y), 1.0);
        let loss = if self.metric { loss.with(METRIC, Value::Host(measure(&output, y))) } else { loss };
        Ok((loss, ()))
    }
}
