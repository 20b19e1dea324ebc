//! A momentum that changes from step to step, against a computation by hand.

use std::collections::BTreeMap;

use regimen_core::engine::{Engine, Part};
use regimen_core::run::Train;
use regimen_core::saved::{StateDict, load_parts, save_parts};
use regimen_core::{BoxError, Run};

use super::EngineFixture;
use super::measure::{all_numbers, ensure_close, ensure_same, numbers};
use super::task::{backward, batches, unit};

/// The momentum of each step. It may be 0 for a while.
const MOMENTA: [f64; 6] = [0.9, 0.5, 0.0, 0.8, 0.95, 0.25];

/// The momentum that is set before a step is that of the step, and no part of the state. So a run that is restored
/// goes on with the same bits.
pub fn a_step_uses_the_momentum_that_is_set<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let Some(mut engine) = fixture.with_momentum() else { return Ok(()) };
    let rate = fixture.learning_rate();
    let mut by_hand = by_name(&engine.state(Part::Module)?)?;
    let mut velocities: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (step, momentum) in MOMENTA.into_iter().enumerate() {
        let held = backward(fixture, &mut engine, 3 * step as u64..3 * step as u64 + 5)?;
        let before = engine.state(Part::Optimizer)?;
        engine.set_momentum(momentum)?;
        let after = engine.state(Part::Optimizer)?;
        ensure_same("the optimizer's state after its momentum changed", &after, &before)?;
        engine.step(&vec![rate; engine.groups().len()])?;
        for (name, gradient) in by_name(&held)? {
            let values = by_hand.get_mut(&name).ok_or("a gradient without a parameter")?;
            let velocity = velocities.entry(name).or_insert_with(|| vec![0.0; gradient.len()]);
            for ((value, velocity), gradient) in values.iter_mut().zip(velocity).zip(gradient) {
                *velocity = momentum * *velocity + gradient;
                *value -= rate * *velocity;
            }
        }
        let what = format!("parameters after step {step} with the momentum {momentum}");
        let found = all_numbers(&engine.state(Part::Module)?)?;
        let expected: Vec<f64> = by_hand.values().flatten().copied().collect();
        ensure_close(&what, &found, &expected, 10.0 * fixture.tolerance())?;
    }
    restored(fixture)
}

/// A run with a scheduled momentum that is saved after every number of updates and goes on in a new engine.
fn restored<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let new = || {
        let engine = fixture.with_momentum().ok_or("there was an engine with a momentum")?;
        Ok::<_, BoxError>(unit(fixture, engine).momentum(|n: u64| MOMENTA[n as usize % MOMENTA.len()]))
    };
    let data = batches(fixture, &[1, 2, 3, 4, 5, 6]);
    let mut whole = new()?;
    Run::new(&mut whole).train(&data, Train::epochs(1))?;
    let expected = save_parts(&mut whole)?;
    let mut by_hook = unit(fixture, fixture.with_momentum().ok_or("there was an engine with a momentum")?)
        .before_update(|engine, state| {
            engine.set_momentum(MOMENTA[state.train_progress().updates as usize % MOMENTA.len()])
        });
    Run::new(&mut by_hook).train(&data, Train::epochs(1))?;
    let what = "parameters after updates with a scheduled momentum";
    ensure_same(what, &expected["module"], &save_parts(&mut by_hook)?["module"])?;
    for stop in 1..data.len() as u64 {
        let (mut first, mut second) = (new()?, new()?);
        let mut run = Run::new(&mut first);
        run.train(&data, Train::steps(stop))?;
        let saved = (run.run_state()?, save_parts(run.unit_mut())?);
        let mut run = Run::new(&mut second);
        run.load_run_state(&saved.0)?;
        load_parts(run.unit_mut(), &saved.1)?;
        run.train(&data, Train::epochs(1))?;
        for (name, part) in save_parts(run.unit_mut())? {
            ensure_same(
                &format!("`{name}` of a run restored after {stop} updates"),
                &part,
                &expected[&name],
            )?;
        }
    }
    Ok(())
}

fn by_name(dict: &StateDict) -> Result<BTreeMap<String, Vec<f64>>, BoxError> {
    dict.iter().map(|(name, array)| Ok((name.to_owned(), numbers(array)?))).collect()
}
