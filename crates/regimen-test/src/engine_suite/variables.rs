//! The list of a module's variables.

use regimen_core::BoxError;
use regimen_core::engine::{Engine, Part, Role};

use super::measure::ensure;
use super::task::backward;
use super::{EngineFixture, ROWS};

/// The list has the names, types and shapes of the module's state, in its order. The parameters with a
/// gradient are trained, except for those whose group is frozen. Nothing else is trained.
pub fn variables_are_those_of_the_module<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    for mut engine in [fixture.plain(), fixture.regularized()] {
        let listed = engine.variables()?.into_iter().map(|found| (found.name, found.dtype, found.shape));
        let state = engine.state(Part::Module)?;
        let held = state.iter().map(|(name, array)| (name.to_owned(), array.dtype(), array.shape().to_vec()));
        let (listed, held): (Vec<_>, Vec<_>) = (listed.collect(), held.collect());
        ensure(listed == held, format!("{listed:?} are listed, and the module has {held:?}"))?;

        let parameters = backward(fixture, &mut engine, 0..ROWS)?;
        let groups = engine.groups().len();
        for group in 0..groups {
            let flags: Vec<bool> = (0..groups).map(|i| i == group).collect();
            engine.freeze(&flags)?;
            // The frozen ones have lost their gradients.
            let left = engine.state(Part::Gradients)?;
            for (name, role) in roles(&engine)? {
                let is_right = match (parameters.contains(&name), left.contains(&name)) {
                    (true, true) => role == Role::Trained,
                    (true, false) => role == Role::Frozen,
                    (false, _) => role != Role::Trained,
                };
                ensure(is_right, format!("with group {group} frozen, `{name}` is listed as {role:?}"))?;
            }
            engine.freeze(&vec![false; groups])?;
            engine.load_state(Part::Gradients, &parameters)?;
        }
        for (name, role) in roles(&engine)? {
            let is_trained = parameters.contains(&name);
            ensure((role == Role::Trained) == is_trained, format!("thawed, `{name}` is listed as {role:?}"))?;
        }
    }
    Ok(())
}

fn roles(engine: &impl Engine) -> Result<Vec<(String, Role)>, BoxError> {
    Ok(engine.variables()?.into_iter().map(|variable| (variable.name, variable.role)).collect())
}
