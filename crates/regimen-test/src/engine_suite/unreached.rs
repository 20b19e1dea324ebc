//! Parameters that no backward pass has reached.

use regimen_core::BoxError;
use regimen_core::engine::{Engine, Part};

use super::exchange::exchange_with_a_rank_of_zeros;
use super::measure::ensure;
use super::task::backward;
use super::{EngineFixture, ROWS};

/// A trained parameter is named until a backward pass reaches it, and never again, even if its gradient is
/// dropped. A frozen one is named only after it thaws. Loaded gradients count as those of a pass, an exchange
/// does not. Parameters that the loss does not depend on stay named.
///
/// A new engine that names no parameter cannot know them, which is allowed.
pub fn what_no_backward_pass_reaches_is_named<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    if fixture.plain().unreached()?.is_empty() {
        return Ok(());
    }
    let all = backward(fixture, &mut fixture.plain(), 0..ROWS)?;
    let all_names: Vec<&str> = all.iter().map(|(name, _)| name).collect();
    let groups = fixture.plain().groups().len();
    let rates = vec![fixture.learning_rate(); groups];
    for group in 0..groups {
        let flags: Vec<bool> = (0..groups).map(|i| i == group).collect();
        let mut engine = fixture.plain();
        ensure_named("a new engine", &engine, &all_names)?;
        engine.freeze(&flags)?;
        let mut frozen = all_names.clone();
        if groups != 1 {
            let reached = backward(fixture, &mut engine, 0..ROWS)?;
            frozen.retain(|name| !reached.contains(name));
        }
        ensure_named("with a frozen group, after a pass", &engine, &[])?;
        engine.freeze(&vec![false; groups])?;
        ensure_named("after a pass while they were frozen", &engine, &frozen)?;
        exchange_with_a_rank_of_zeros(&mut engine)?;
        ensure_named("after an exchange", &engine, &frozen)?;
        engine.discard_gradients();
        backward(fixture, &mut engine, 0..ROWS)?;
        ensure_named("after a pass through all", &engine, &[])?;
        engine.step(&rates)?;
        ensure_named("after a step", &engine, &[])?;
        engine.discard_gradients();
        ensure_named("without gradients", &engine, &[])?;
    }
    let mut engine = fixture.plain();
    engine.load_state(Part::Gradients, &all)?;
    ensure_named("after gradients were set", &engine, &[])?;
    let Some((mut engine, unused)) = fixture.with_unused_part() else { return Ok(()) };
    for pass in ["with an unused part, after a pass", "with an unused part, after another"] {
        backward(fixture, &mut engine, 0..ROWS)?;
        ensure_named(pass, &engine, &unused)?;
    }
    engine.step(&rates)?;
    ensure_named("with an unused part, after a step", &engine, &unused)
}

fn ensure_named(when: &str, engine: &impl Engine, expected: &[&str]) -> Result<(), BoxError> {
    let found = engine.unreached()?;
    ensure(found == expected, format!("{when}: {found:?} are unreached, and not {expected:?}"))
}
