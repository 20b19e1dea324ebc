//! Held gradients: accumulation, saving and loading.

use regimen_core::BoxError;
use regimen_core::engine::{Engine, Mode, Part};
use regimen_core::saved::StateDict;

use super::measure::{all_numbers, changed, ensure, ensure_close, ensure_same, norm};
use super::task::{backward, batches, first_update, forward};
use super::{EngineFixture, ROWS};

/// The gradient of a window equals that of the whole batch, however the batch is split into micro-batches of
/// unequal weight.
pub fn splitting_a_batch_keeps_its_gradient<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let whole = all_numbers(&first_update(fixture, &[fixture.batch(0..ROWS)], 1)?)?;
    for sizes in [&[24][..], &[23, 1], &[8, 8, 8], &[1, 2, 3, 4, 5, 9], &[1; 24]] {
        let batches = batches(fixture, sizes);
        let full = sizes.len() as u64;
        // A window of `full + 1` steps ends with the epoch.
        for accumulate in [full, full + 1] {
            let split = all_numbers(&first_update(fixture, &batches, accumulate)?)?;
            let what = format!("{sizes:?} in a window of {accumulate}");
            ensure_close(&what, &split, &whole, fixture.tolerance())?;
        }
    }
    Ok(())
}

/// Backward adds `factor` times the gradients to those held, and 1 times for `None`.
pub fn backward_adds_to_what_is_held<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let first = all_numbers(&backward(fixture, &mut fixture.plain(), 0..9)?)?;
    let second = all_numbers(&backward(fixture, &mut fixture.plain(), 9..ROWS)?)?;
    let mut engine = fixture.plain();
    for (rows, factor) in [(0..9, None), (9..ROWS, Some(2.5)), (0..9, Some(-0.5))] {
        let loss = forward(fixture, &mut engine, Mode::Train, rows)?;
        engine.backward(&loss.mean, factor)?;
    }
    let expected: Vec<f64> = first.iter().zip(&second).map(|(a, b)| 0.5 * a + 2.5 * b).collect();
    ensure_close(
        "0.5 a + 2.5 b",
        &all_numbers(&engine.state(Part::Gradients)?)?,
        &expected,
        2.0 * fixture.tolerance(),
    )
}

/// A weighted sum of losses has the weighted sum of their values and of their gradients. One of no terms is an
/// error.
pub fn a_sum_of_terms_has_their_gradients<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let (rows, weights) = ([0..9, 9..ROWS, 3..12], [1.0, 2.5, -0.5]);
    let (mut value, mut gradient) = (0.0, Vec::new());
    for (rows, weight) in rows.clone().into_iter().zip(weights) {
        let mut engine = fixture.plain();
        let loss = forward(fixture, &mut engine, Mode::Train, rows)?.mean;
        value += weight * engine.value(&loss)?;
        engine.backward(&loss, None)?;
        let own = all_numbers(&engine.state(Part::Gradients)?)?;
        gradient.resize(own.len(), 0.0);
        gradient.iter_mut().zip(own).for_each(|(sum, own)| *sum += weight * own);
    }
    let mut engine = fixture.plain();
    let losses = rows.map(|rows| forward(fixture, &mut engine, Mode::Train, rows));
    let losses = losses.into_iter().collect::<Result<Vec<_>, _>>()?;
    let terms: Vec<_> = weights.into_iter().zip(losses.iter().map(|loss| &loss.mean)).collect();
    let sum = F::Engine::weighted_sum(&terms)?;
    let tolerance = 2.0 * fixture.tolerance();
    ensure_close("the sum of three terms", &[engine.value(&sum)?], &[value], tolerance)?;
    engine.backward(&sum, None)?;
    let found = all_numbers(&engine.state(Part::Gradients)?)?;
    ensure_close("the gradient of a sum of three terms", &found, &gradient, tolerance)?;
    ensure(F::Engine::weighted_sum(&[]).is_err(), "there is a sum of no terms")
}

/// Gradients have the names of the parameters. They are saved and loaded unchanged, replace the held ones,
/// and can be discarded.
pub fn gradients_go_out_and_come_in<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let mut engine = fixture.plain();
    ensure(engine.state(Part::Gradients)?.is_empty(), "a new engine holds gradients")?;
    let held = backward(fixture, &mut engine, 0..ROWS)?;
    ensure(3 <= held.len(), "the suite needs a module of three parameters or more")?;

    let module = engine.state(Part::Module)?;
    for (name, gradient) in held.iter() {
        let parameter = module.array(name)?;
        let fits = (parameter.dtype(), parameter.shape()) == (gradient.dtype(), gradient.shape());
        ensure(fits, format!("the gradient of `{name}` is not of its shape and type"))?;
    }

    engine.discard_gradients();
    ensure(engine.state(Part::Gradients)?.is_empty(), "gradients are held after they were discarded")?;
    ensure(engine.gradient_norm()? == 0.0, "the norm of no gradients is not 0")?;
    engine.load_state(Part::Gradients, &held)?;
    ensure_same("gradients put back", &engine.state(Part::Gradients)?, &held)?;

    let mut part = held.clone();
    let first = held.iter().next().map_or("", |(name, _)| name);
    part.remove(first)?;
    let part = changed(&part, |element| 2.0 * element)?;
    engine.check_state(Part::Gradients, &part)?;
    engine.load_state(Part::Gradients, &part)?;
    ensure_same("gradients of some parameters", &engine.state(Part::Gradients)?, &part)?;
    let (found, expected) = (engine.gradient_norm()?, norm(&all_numbers(&part)?));
    ensure_close("the norm of some gradients", &[found], &[expected], fixture.tolerance())?;
    engine.load_state(Part::Gradients, &StateDict::new())?;
    ensure(engine.state(Part::Gradients)?.is_empty(), "an empty set of gradients left some held")
}
