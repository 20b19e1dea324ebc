//! Freezing of parameter groups.

use std::collections::BTreeSet;

use regimen_core::BoxError;
use regimen_core::engine::{Engine, Part};
use regimen_core::error::WithCauses;
use regimen_core::saved::StateDict;

use super::exchange::exchange_with_a_rank_of_zeros;
use super::measure::{ensure, ensure_same};
use super::task::{backward, forward};
use super::{EngineFixture, ROWS};

/// A frozen group gets no gradient, loses the one it held, and does not move, nor does its optimizer state.
/// The others train as before. A thawed group is trained again. A wrong number of flags is an error.
pub fn a_frozen_group_stays_as_it_is<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let groups = fixture.plain().groups().len();
    for group in 0..groups {
        let (mut engine, mut untouched) = (fixture.plain(), fixture.plain());
        let rates = vec![fixture.learning_rate(); groups];
        let flags: Vec<bool> = (0..groups).map(|i| i == group).collect();
        for engine in [&mut engine, &mut untouched] {
            backward(fixture, engine, 0..ROWS)?;
            engine.step(&rates)?;
        }
        let all = backward(fixture, &mut engine, 0..ROWS)?;
        for wrong in [groups - 1, groups + 1] {
            let refused = engine.freeze(&vec![false; wrong]).is_err();
            ensure(refused, format!("{wrong} flags were taken for {groups} groups"))?;
        }
        ensure_same("gradients after flags that were refused", &engine.state(Part::Gradients)?, &all)?;

        engine.freeze(&flags)?;
        let left = names(&engine.state(Part::Gradients)?);
        let frozen: BTreeSet<String> = names(&all).difference(&left).cloned().collect();
        ensure(!frozen.is_empty(), "a frozen group keeps its gradients")?;
        engine.discard_gradients();
        if left.is_empty() {
            let loss = forward(fixture, &mut engine, regimen_core::engine::Mode::Train, 0..ROWS)?;
            ensure(engine.backward(&loss.mean, None).is_err(), "with all frozen, backward finds parameters")?;
        } else {
            let found = names(&backward(fixture, &mut engine, 0..ROWS)?);
            ensure(found == left, format!("backward gives {found:?}, and what is not frozen is {left:?}"))?;
            exchange_with_a_rank_of_zeros(&mut engine)?;
            let found = names(&engine.state(Part::Gradients)?);
            ensure(found == left, format!("after an exchange there are gradients of {found:?}"))?;
            let before = (engine.state(Part::Module)?, engine.state(Part::Optimizer)?);
            engine.step(&rates)?;
            let after = (engine.state(Part::Module)?, engine.state(Part::Optimizer)?);
            for name in names(&all) {
                let moved = [&before.0, &before.1].map(|state| part(state, &name))
                    != [&after.0, &after.1].map(|state| part(state, &name));
                let is_frozen = frozen.contains(&name);
                ensure(moved != is_frozen, format!("`{name}`: frozen: {is_frozen}, moved: {moved}"))?;
            }
            // Loaded gradients are accepted, also those of the frozen group.
            let state = untouched.state(Part::Optimizer)?;
            engine
                .check_state(Part::Optimizer, &state)
                .map_err(|cause| format!("a state of all groups: {}", WithCauses(&*cause)))?;
            let mut other = fixture.plain();
            other.freeze(&flags)?;
            other.load_state(Part::Optimizer, &state)?;
            ensure_same(
                "the optimizer, loaded while a group is frozen",
                &other.state(Part::Optimizer)?,
                &state,
            )?;
            // The others have trained as without freezing.
            backward(fixture, &mut untouched, 0..ROWS)?;
            untouched.step(&rates)?;
            let (found, expected) = (engine.state(Part::Module)?, untouched.state(Part::Module)?);
            for name in &left {
                ensure(part(&found, name) == part(&expected, name), format!("`{name}` went another way"))?;
            }
        }
        engine.freeze(&vec![false; groups])?;
        let thawed = names(&backward(fixture, &mut engine, 0..ROWS)?);
        ensure(thawed == names(&all), format!("thawed, backward gives {thawed:?}"))?;
    }
    Ok(())
}

fn names(dict: &StateDict) -> BTreeSet<String> {
    dict.iter().map(|(name, _)| name.to_owned()).collect()
}

/// The array called `name`, and those below that name.
fn part(dict: &StateDict, name: &str) -> StateDict {
    let mut part = dict.under(name);
    if let Ok(array) = dict.array(name) {
        let _ = part.insert("", array.clone());
    }
    part
}
