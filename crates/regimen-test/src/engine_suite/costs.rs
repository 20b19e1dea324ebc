//! Measured costs.

use regimen_core::BoxError;
use regimen_core::engine::{Cost, Engine, Mode, Part};

use super::measure::{ensure, ensure_same};
use super::task::{backward, forward};
use super::{EngineFixture, ROWS};

/// Training has the same results while its costs are measured. The costs are those of modules on the paths of
/// the variables, in their order, and of training passes since measuring began.
///
/// An engine without costs cannot measure, which is allowed.
pub fn measuring_changes_no_result<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let trained = |measures: bool| -> Result<F::Engine, BoxError> {
        let mut engine = fixture.regularized();
        let rates = vec![fixture.learning_rate(); engine.groups().len()];
        engine.measure(measures);
        for step in 0..3 {
            engine.seed(step);
            backward(fixture, &mut engine, 0..ROWS)?;
            engine.step(&rates)?;
        }
        Ok(engine)
    };
    let (mut measured, other) = (trained(true)?, trained(false)?);
    for part in [Part::Module, Part::Optimizer] {
        ensure_same("after steps that were measured", &measured.state(part)?, &other.state(part)?)?;
    }
    ensure(other.costs().is_empty(), "there are costs that were not measured")?;

    let costs = measured.costs();
    let layers: Vec<&str> = costs.iter().map(|cost| &*cost.layer).collect();
    ensure(layers.is_sorted_by(|a, b| a < b), format!("the layers {layers:?} are not in order"))?;
    let variables = measured.variables()?;
    let is_module = |layer: &str| {
        let is_in = |name: &str| name.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.'));
        layer.is_empty() || variables.iter().any(|variable| is_in(&variable.name))
    };
    let other = layers.iter().find(|layer| !is_module(layer));
    ensure(other.is_none(), format!("{other:?} is no module with variables"))?;

    forward(fixture, &mut measured, Mode::Eval, 0..ROWS)?;
    ensure(measured.costs() == costs, "an evaluation adds to the costs")?;
    measured.measure(true);
    ensure(flops(&measured.costs()) == 0, "costs are left from before measuring began")?;
    backward(fixture, &mut measured, 0..ROWS)?;
    let (one, three) = (flops(&measured.costs()), flops(&costs));
    ensure(one * 3 == three, format!("one pass has {one} FLOPs, and three have {three}"))?;
    measured.measure(false);
    backward(fixture, &mut measured, 0..ROWS)?;
    ensure(measured.costs().is_empty(), "there are costs after measuring has ended")
}

fn flops(costs: &[Cost]) -> u64 {
    costs.iter().flat_map(|cost| [cost.forward.flops, cost.backward.flops]).flatten().sum()
}
