//! Norm, scale and clip, against a computation by hand.

use std::collections::BTreeMap;

use regimen_core::engine::{Engine, Part};
use regimen_core::run::Train;
use regimen_core::saved::{Array, Dtype, StateDict};
use regimen_core::{BoxError, Run};

use super::EngineFixture;
use super::measure::{all_numbers, changed, ensure, ensure_close, ensure_same, norm, numbers};
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

/// The norm of each unit is limited by that of its weights, which has a floor. It matches a computation by
/// hand, in the engine and as `AutoUnit` uses it. Gradients that are not finite stay as they are.
pub fn clipping_by_units_agrees_with_a_hand_computation<F: EngineFixture>(
    fixture: &F,
) -> Result<(), BoxError> {
    let mut engine = fixture.plain();
    let held = backward(fixture, &mut engine, 0..7)?;
    let module = engine.state(Part::Module)?;
    let dimensions: Dimensions =
        held.iter().map(|(name, _)| (name.to_owned(), fixture.unit_dimension(name))).collect();
    let norms = |dict: &StateDict| -> Result<Vec<f64>, BoxError> {
        let of = |(name, &dimension): (&String, &usize)| unit_norms(dimension, dict.array(name)?);
        Ok(dimensions.iter().map(of).collect::<Result<Vec<_>, _>>()?.concat())
    };
    let (gradients, weights) = (norms(&held)?, norms(&module)?);
    for floor in [0.0, median(weights.clone())] {
        // Half of the units are clipped.
        let ratios = gradients.iter().zip(&weights).map(|(gradient, weight)| gradient / weight.max(floor));
        let factor = median(ratios.filter(|ratio| ratio.is_finite()).collect());
        engine.load_state(Part::Gradients, &held)?;
        engine.clip_gradient_units(factor, floor)?;
        let by_hand = clipped_units(&dimensions, &module, &held, factor, floor)?;
        let found = all_numbers(&engine.state(Part::Gradients)?)?;
        ensure_close("clip by units", &found, &all_numbers(&by_hand)?, fixture.tolerance())?;
        ensure(found != all_numbers(&held)?, "clipping by units changed nothing")?;
    }

    for bad in [f64::NAN, f64::INFINITY] {
        engine.load_state(Part::Gradients, &held)?;
        engine.scale_gradients(bad)?;
        let before = engine.state(Part::Gradients)?;
        engine.clip_gradient_units(0.1, 1e-3)?;
        let what = format!("gradients times {bad} that are clipped by units");
        ensure_same(&what, &engine.state(Part::Gradients)?, &before)?;
    }

    let factor = median(
        gradients.iter().zip(&weights).map(|(gradient, weight)| gradient / weight.max(1e-3)).collect(),
    );
    let clipped = trained(fixture, |unit| unit.clip_adaptive(factor))?;
    let by_hand = trained(fixture, |unit| {
        unit.before_update(move |engine, _| {
            let (module, held) = (engine.state(Part::Module)?, engine.state(Part::Gradients)?);
            let clipped = clipped_units(&dimensions, &module, &held, factor, 1e-3)?;
            engine.load_state(Part::Gradients, &clipped)
        })
    })?;
    let tolerance = 10.0 * fixture.tolerance();
    ensure_close("parameters after updates clipped by units", &clipped, &by_hand, tolerance)?;
    ensure(clipped != trained(fixture, |unit| unit)?, "adaptive clipping changed nothing")
}

/// The dimension of each parameter that counts its units.
type Dimensions = BTreeMap<String, usize>;

/// The unit of each element of `array`, and the number of units.
fn unit_of(dimension: usize, shape: &[usize]) -> (impl Fn(usize) -> usize, usize) {
    let (inner, units) = match shape.len() {
        0 | 1 => (usize::MAX, 1),
        _ => (shape[dimension + 1..].iter().product(), shape[dimension]),
    };
    (move |element| element / inner % units, units)
}

/// The norm of each unit.
fn unit_norms(dimension: usize, array: &Array) -> Result<Vec<f64>, BoxError> {
    let (unit_of, units) = unit_of(dimension, array.shape());
    let mut squares = vec![0.0; units];
    numbers(array)?.into_iter().enumerate().for_each(|(n, element)| squares[unit_of(n)] += element * element);
    Ok(squares.into_iter().map(f64::sqrt).collect())
}

/// `held`, clipped by hand.
fn clipped_units(
    dimensions: &Dimensions,
    module: &StateDict,
    held: &StateDict,
    factor: f64,
    floor: f64,
) -> Result<StateDict, BoxError> {
    let mut clipped = StateDict::new();
    for (name, array) in held.iter() {
        let dimension = dimensions[name];
        let norms =
            unit_norms(dimension, module.array(name)?)?.into_iter().zip(unit_norms(dimension, array)?);
        let scales = norms.map(|(weights, gradient)| (factor * weights.max(floor) / gradient).min(1.0));
        let (scales, (unit_of, _)) = (scales.collect::<Vec<f64>>(), unit_of(dimension, array.shape()));
        let (mut one, mut n) = (StateDict::new(), 0);
        one.insert(name, array.clone())?;
        let scaled = changed(&one, |element| {
            n += 1;
            element * scales[unit_of(n - 1)]
        })?;
        clipped.insert(name, scaled.array(name)?.clone())?;
    }
    Ok(clipped)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
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
