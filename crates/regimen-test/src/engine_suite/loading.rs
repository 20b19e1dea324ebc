//! Saving and loading of parameters and optimizer state, and mismatches.

use regimen_core::engine::{Engine, Part};
use regimen_core::run::Train;
use regimen_core::saved::{Array, Dtype, StateDict};
use regimen_core::{BoxError, Run};

use super::measure::{ensure, ensure_same};
use super::task::{backward, batches, eval_loss, unit};
use super::{EngineFixture, ROWS};

/// Parameters, running statistics and optimizer state are saved from one engine and loaded into a new one.
/// Both then train alike, bit for bit.
pub fn state_goes_out_and_comes_in<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let mut old = unit(fixture, fixture.regularized());
    let all = batches(fixture, &[4, 5, 6, 9]);
    Run::new(&mut old).train(&all, Train::epochs(1))?;
    let (module, optimizer) = (old.engine().state(Part::Module)?, old.engine().state(Part::Optimizer)?);

    let mut engine = fixture.regularized();
    ensure(engine.state(Part::Module)? != module, "an epoch of training changed no parameter")?;
    engine.check_state(Part::Module, &module)?;
    engine.load_state(Part::Module, &module)?;
    engine.check_state(Part::Optimizer, &optimizer)?;
    engine.load_state(Part::Optimizer, &optimizer)?;
    ensure_same("the module, loaded", &engine.state(Part::Module)?, &module)?;
    ensure_same("the optimizer, loaded", &engine.state(Part::Optimizer)?, &optimizer)?;

    let mut new = unit(fixture, engine);
    for unit in [&mut old, &mut new] {
        Run::new(unit).train(&all, Train::epochs(1))?;
    }
    let losses = [&mut old, &mut new].map(|unit| eval_loss(fixture, unit.engine_mut()));
    let [Ok(expected), Ok(found)] = losses else { return Err("the loss cannot be evaluated".into()) };
    ensure(found == expected, "the evaluation loss differs: are running statistics saved?")?;
    let (old, new) = (old.engine(), new.engine());
    ensure_same("the module, trained on", &new.state(Part::Module)?, &old.state(Part::Module)?)?;
    ensure_same("the optimizer, trained on", &new.state(Part::Optimizer)?, &old.state(Part::Optimizer)?)?;

    let mut fresh = fixture.regularized();
    let beginning = fresh.state(Part::Optimizer)?;
    fresh.check_state(Part::Optimizer, &StateDict::new())?;
    fresh.load_state(Part::Optimizer, &optimizer)?;
    fresh.load_state(Part::Optimizer, &StateDict::new())?;
    ensure_same("the optimizer, emptied", &fresh.state(Part::Optimizer)?, &beginning)
}

/// Gradients, parameters and optimizer state with an unknown name, a missing one, another shape or another
/// type are errors, and nothing is changed.
pub fn what_does_not_fit_is_refused<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let mut engine = fixture.regularized();
    backward(fixture, &mut engine, 0..ROWS)?;
    let rates = vec![fixture.learning_rate(); engine.groups().len()];
    engine.step(&rates)?;
    let gradients = backward(fixture, &mut engine, 0..ROWS)?;
    let (module, optimizer) = (engine.state(Part::Module)?, engine.state(Part::Optimizer)?);
    ensure(!optimizer.is_empty(), "the suite needs an optimizer with a state")?;

    let refused =
        |what: &str, check: Result<(), BoxError>, load: Result<(), BoxError>, engine: &F::Engine| {
            ensure(check.is_err(), format!("{what}: the check accepts it"))?;
            ensure(load.is_err(), format!("{what}: it is loaded"))?;
            ensure_same(&format!("{what}: the module"), &engine.state(Part::Module)?, &module)?;
            ensure_same(&format!("{what}: the optimizer"), &engine.state(Part::Optimizer)?, &optimizer)?;
            ensure_same(&format!("{what}: the gradients"), &engine.state(Part::Gradients)?, &gradients)
        };
    for (wrong, dict) in misfits(&gradients)? {
        let (check, load) =
            (engine.check_state(Part::Gradients, &dict), engine.load_state(Part::Gradients, &dict));
        refused(&format!("gradients, {wrong}"), check, load, &engine)?;
    }
    let mut missing = module.clone();
    missing.remove(module.iter().last().map_or("", |(name, _)| name))?;
    for (wrong, dict) in misfits(&module)?.into_iter().chain([("a name is missing".to_owned(), missing)]) {
        let (check, load) = (engine.check_state(Part::Module, &dict), engine.load_state(Part::Module, &dict));
        refused(&format!("module, {wrong}"), check, load, &engine)?;
    }
    for (wrong, dict) in misfits(&optimizer)? {
        let (check, load) =
            (engine.check_state(Part::Optimizer, &dict), engine.load_state(Part::Optimizer, &dict));
        refused(&format!("optimizer, {wrong}"), check, load, &engine)?;
    }
    Ok(())
}

/// `dict` with a mistake in its last array. All arrays are changed, so a load before the mistake is found
/// would show.
fn misfits(dict: &StateDict) -> Result<Vec<(String, StateDict)>, BoxError> {
    let (last, array) = dict.iter().last().ok_or("there is nothing to make a mistake in")?;
    let with = |name: &str, array: Array| -> Result<StateDict, BoxError> {
        let mut wrong = StateDict::new();
        for (name, array) in dict.iter().filter(|(name, _)| *name != last) {
            let zeros = vec![0; array.bytes().len()];
            wrong.insert(name, Array::new(array.dtype(), array.shape().to_vec(), zeros)?)?;
        }
        wrong.insert(name, array)?;
        Ok(wrong)
    };
    let shape = array.shape().to_vec();
    let longer = [&shape[..], &[1]].concat();
    let other = if array.dtype().size() == 8 { Dtype::I16 } else { Dtype::F64 };
    let elements: usize = shape.iter().product();
    Ok(vec![
        ("a name is unknown".to_owned(), with("no.such.parameter", array.clone())?),
        (
            format!("`{last}` is of shape {longer:?}"),
            with(last, Array::new(array.dtype(), longer, array.bytes().to_vec())?)?,
        ),
        (
            format!("`{last}` is {other:?}"),
            with(last, Array::new(other, shape, vec![0; elements * other.size()])?)?,
        ),
    ])
}
