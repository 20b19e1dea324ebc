//! A task with one weight w, at first drawn, whose loss is the batch's slope times w: its gradient is
//! the slope. A batch is its slope and its weight.

use std::mem;

use regimen_core::auto_unit::StepResults;
use regimen_core::engine::Engine as _;
use regimen_core::{AutoUnit, BoxError, Loss, State, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyOptimizer, ToyVars, manual_seed};

pub(crate) type Engine = ToyEngine<ToyArray>;
pub(crate) type Unit = AutoUnit<Engine, Slopes>;

/// Fails in its step-end hook once, on request.
pub(crate) struct Slopes {
    pub(crate) fails_once: bool,
}

impl Task<Engine> for Slopes {
    type Batch = (f64, f64);
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        module: &ToyArray,
        &(slope, weight): &(f64, f64),
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        Ok((Loss::mean(module.scale(slope).mean(), weight), ()))
    }

    fn on_train_step_end(
        &mut self,
        _: &mut State,
        _: &(f64, f64),
        _: StepResults<()>,
    ) -> Result<(), BoxError> {
        if mem::take(&mut self.fails_once) { Err("a metric failed".into()) } else { Ok(()) }
    }
}

/// With a learning rate of 1: an update subtracts its slope from the weight.
pub(crate) fn unit() -> Unit {
    manual_seed(1);
    let mut vars = ToyVars::new();
    let w = vars.parameter("w", &[1], 1.0);
    let engine = ToyEngine::new(vars, w, ToyOptimizer::sgd(0.0));
    AutoUnit::new(engine, Slopes { fails_once: false }).learning_rate(1.0)
}

#[allow(dead_code, reason = "not every test looks at it")]
pub(crate) fn weight(unit: &Unit) -> f64 {
    unit.engine().module().values()[0]
}

#[allow(dead_code, reason = "not every test looks at it")]
/// The change of the weight of `unit` by `change`, against the gradient, to nine digits.
pub(crate) fn moved(unit: &mut Unit, change: impl FnOnce(&mut Unit)) -> f64 {
    let before = weight(unit);
    change(unit);
    ((before - weight(unit)) * 1e9).round() / 1e9
}
