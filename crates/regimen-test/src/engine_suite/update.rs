//! The optimizer's step: its input, its effect, and when it must not happen.

use std::collections::BTreeSet;

use regimen_core::auto_unit::NonFinite;
use regimen_core::engine::{Engine, Part};
use regimen_core::run::Train;
use regimen_core::{BoxError, Run};

use super::measure::{ensure, ensure_same};
use super::task::{Seen, backward, batches, unit};
use super::{EngineFixture, ROWS};

/// A step moves the parameters and leaves no gradients held; with a rate of 0 it moves nothing.
pub fn a_step_uses_up_the_gradients<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let mut engine = fixture.plain();
    let before = engine.state(Part::Module)?;
    for (rate, moves) in [(0.0, false), (fixture.learning_rate(), true)] {
        backward(fixture, &mut engine, 0..ROWS)?;
        engine.step(&vec![rate; engine.groups().len()])?;
        ensure(engine.state(Part::Gradients)?.is_empty(), "gradients are held after a step")?;
        let moved = engine.state(Part::Module)? != before;
        ensure(moved == moves, format!("a step with the rate {rate}: parameters moved: {moved}"))?;
    }
    Ok(())
}

/// Each parameter follows the rate of its only group. A wrong number of rates is an error, and nothing is
/// changed.
pub fn rates_go_to_their_groups<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let mut engine = fixture.plain();
    let held = backward(fixture, &mut engine, 0..ROWS)?;
    let (module, groups) = (engine.state(Part::Module)?, engine.groups().to_vec());
    ensure(!groups.is_empty(), "there is no parameter group")?;
    ensure(groups.iter().collect::<BTreeSet<_>>().len() == groups.len(), "two groups have one name")?;
    for wrong in [groups.len() - 1, groups.len() + 1] {
        let result = engine.step(&vec![fixture.learning_rate(); wrong]);
        ensure(result.is_err(), format!("{wrong} rates were taken for {} groups", groups.len()))?;
        ensure_same("parameters after a step that was refused", &engine.state(Part::Module)?, &module)?;
        ensure_same("gradients after a step that was refused", &engine.state(Part::Gradients)?, &held)?;
    }
    let mut moved = BTreeSet::new();
    for group in 0..groups.len() {
        let mut engine = fixture.plain();
        backward(fixture, &mut engine, 0..ROWS)?;
        let mut rates = vec![0.0; groups.len()];
        rates[group] = fixture.learning_rate();
        engine.step(&rates)?;
        let (after, before) = (engine.state(Part::Module)?, moved.len());
        for (name, array) in after.iter().filter(|(name, _)| held.contains(name)) {
            let fresh = module.array(name)? == array || moved.insert(name.to_owned());
            ensure(fresh, format!("`{name}` follows the rates of two groups"))?;
        }
        ensure(moved.len() != before, format!("the rate of group `{}` moves nothing", groups[group]))?;
    }
    let still: Vec<_> = held.iter().map(|(name, _)| name).filter(|name| !moved.contains(*name)).collect();
    ensure(still.is_empty(), format!("no group's rate moves {still:?}"))
}

/// A window whose gradient is not finite moves neither parameters nor optimizer nor schedule, and is counted.
/// Training continues as if it had not been there.
pub fn a_skipped_update_changes_nothing<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    for clip in [None, Some(1e3)] {
        let (counts, rate) = (Seen::default(), fixture.learning_rate());
        let asked = counts.clone();
        let mut unit = unit(fixture, fixture.plain())
            .accumulate(2)
            .non_finite(NonFinite::Skip)
            .learning_rate(move |n: u64| {
                asked.push(n);
                rate / (1 + n) as f64
            })
            .after_backward(|engine, state| match state.train_progress().steps {
                3 => engine.scale_gradients(f64::NAN),
                _ => Ok(()),
            });
        if let Some(norm) = clip {
            unit = unit.clip_norm(norm);
        }
        let all = batches(fixture, &[3, 4, 2, 3, 5, 7]);
        let mut run = Run::new(&mut unit);
        run.train(&all, Train::steps(2))?;
        let engine = run.unit().engine();
        let (module, optimizer) = (engine.state(Part::Module)?, engine.state(Part::Optimizer)?);
        run.train(&all, Train::steps(4))?;
        let engine = run.unit().engine();
        ensure_same("parameters after a skipped update", &engine.state(Part::Module)?, &module)?;
        ensure_same("the optimizer after a skipped update", &engine.state(Part::Optimizer)?, &optimizer)?;
        ensure(engine.state(Part::Gradients)?.is_empty(), "gradients are held after a skipped update")?;
        ensure(run.unit().skipped() == 1, format!("{} updates were skipped, not 1", run.unit().skipped()))?;
        run.train(&all, Train::epochs(1))?;
        ensure(run.state().train_progress().updates == 2, "the skipped update was counted as one")?;
        // The schedule is asked once for each group.
        let counts: BTreeSet<u64> = counts.take().into_iter().collect();
        ensure(counts == BTreeSet::from([0, 1]), "the schedule moved with a skipped update")?;

        drop(run);
        let mut without = super::task::unit(fixture, fixture.plain()).accumulate(2);
        let others: Vec<_> = [0, 1, 4, 5].map(|i: usize| all[i].clone()).to_vec();
        Run::new(&mut without).train(&others, Train::epochs(1))?;
        let (found, expected) = (unit.engine().state(Part::Module)?, without.engine().state(Part::Module)?);
        ensure_same("parameters after a run with a skipped update", &found, &expected)?;
    }
    Ok(())
}
