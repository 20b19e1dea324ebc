//! Norm, scale and clip, against a computation by hand.

use regimen_core::engine::{Engine, Part};
use regimen_core::run::Train;
use regimen_core::saved::{Dtype, StateDict};
use regimen_core::{BoxError, Run};

use super::EngineFixture;
use super::measure::{all_numbers, changed, ensure, ensure_close, norm};
use super::task::{Unit, backward, batches, unit};

/// The norm is over all parameters together. Scaling and clipping match a computation by hand, in the engine
/// and as `AutoUnit` uses them. A norm that is not finite is found.
pub fn clipping_agrees_with_a_hand_computation<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let tolerance = fixture.tolerance();
    let mut engine = fixture.plain();
    let held = backward(fixture, &mut engine, 0..7)?;
    let size = norm(&all_numbers(&held)?);
    ensure_close("gradient_norm", &[engine.gradient_norm()?], &[size], tolerance)?;
    ensure(engine.gradients_are_finite()?, "finite gradients are said not to be")?;

    engine.scale_gradients(-0.3)?;
    let by_hand = changed(&held, |element| -0.3 * element)?;
    ensure_close(
        "scale",
        &all_numbers(&engine.state(Part::Gradients)?)?,
        &all_numbers(&by_hand)?,
        tolerance,
    )?;

    engine.load_state(Part::Gradients, &held)?;
    let limit = size / (all_numbers(&held)?.len() as f64).sqrt();
    engine.clip_gradient_values(limit)?;
    let by_hand = changed(&held, |element| element.clamp(-limit, limit))?;
    ensure_close(
        "clip by value",
        &all_numbers(&engine.state(Part::Gradients)?)?,
        &all_numbers(&by_hand)?,
        tolerance,
    )?;

    for bad in [f64::NAN, f64::INFINITY] {
        engine.load_state(Part::Gradients, &held)?;
        engine.scale_gradients(bad)?;
        ensure(!engine.gradients_are_finite()?, format!("gradients times {bad} are said to be finite"))?;
        ensure(!engine.gradient_norm()?.is_finite(), format!("gradients times {bad} have a finite norm"))?;
    }

    // The gradients of a step cannot be read afterwards, but their effect can.
    let (limit, value_limit) = (size / 2.0, size / 20.0);
    let clipped = trained(fixture, |unit| unit.clip_norm(limit).clip_value(value_limit))?;
    let by_hand = trained(fixture, |unit| {
        unit.before_update(move |engine, _| {
            let held = engine.state(Part::Gradients)?;
            let factor = (limit / norm(&all_numbers(&held)?)).min(1.0);
            let clip = |element: f64| (element * factor).clamp(-value_limit, value_limit);
            engine.load_state(Part::Gradients, &changed(&held, clip)?)
        })
    })?;
    ensure_close("parameters after clipped updates", &clipped, &by_hand, 10.0 * tolerance)?;
    let unclipped = trained(fixture, |unit| unit)?;
    ensure(clipped != unclipped, "clipping changed nothing")
}

/// Parameters and optimizer state after four updates.
fn trained<'f, F: EngineFixture>(
    fixture: &'f F,
    settings: impl FnOnce(Unit<'f, F>) -> Unit<'f, F>,
) -> Result<Vec<f64>, BoxError> {
    let mut unit = settings(unit(fixture, fixture.plain()).accumulate(2));
    Run::new(&mut unit).train(&batches(fixture, &[1, 2, 3, 4, 5, 1, 2, 6]), Train::epochs(1))?;
    let mut all = StateDict::new();
    all.insert_all("module", unit.engine().state(Part::Module)?)?;
    for (name, array) in unit.engine().state(Part::Optimizer)? {
        // Counters of steps may be whole numbers.
        if matches!(array.dtype(), Dtype::F32 | Dtype::F64) {
            all.insert(format!("optimizer.{name}"), array)?;
        }
    }
    all_numbers(&all)
}
