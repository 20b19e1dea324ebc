//! Anomaly detection.

use std::error::Error;

use regimen_core::engine::{Engine, Part};
use regimen_core::run::Train;
use regimen_core::saved::StateDict;
use regimen_core::{BoxError, Run};

use super::measure::{changed, ensure, ensure_same};
use super::task::{batches, unit};
use super::{EngineFixture, ROWS};

/// The error names a parameter and a gradient that are not finite, by path. Without any, detection changes
/// nothing.
pub fn what_is_not_finite_is_named<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let module = fixture.plain().state(Part::Module)?;
    let data = batches(fixture, &[ROWS]);
    for (name, array) in module.iter() {
        let mut spoilt = StateDict::new();
        spoilt.insert(name, array.clone())?;
        let mut spoilt = changed(&spoilt, |_| f64::NAN)?;
        for (other, array) in module.iter().filter(|(other, _)| *other != name) {
            spoilt.insert(other, array.clone())?;
        }
        let mut engine = fixture.plain();
        engine.load_state(Part::Module, &spoilt)?;
        let mut unit = unit(fixture, engine);
        let text = failure(Run::new(&mut unit).train(&data, Train::epochs(1)).err())?;
        ensure(text.contains(&format!("`{name}`")), format!("`{name}` is NaN, and the error is: {text}"))?;
    }
    let mut spoiling = unit(fixture, fixture.plain())
        .clip_norm(1.0)
        .after_backward(|engine, _| engine.scale_gradients(f64::NAN));
    let text = failure(Run::new(&mut spoiling).train(&data, Train::epochs(1)).err())?;
    let named = module.iter().any(|(name, _)| text.contains(&format!("gradient `{name}`")));
    ensure(named, format!("gradients are NaN, and the error is: {text}"))?;

    let trained = |detects: bool| {
        let mut unit = unit(fixture, fixture.regularized()).accumulate(2).detect_anomaly(detects);
        Run::new(&mut unit).train(&batches(fixture, &[4, 6, 8, 6]), Train::epochs(2))?;
        unit.engine().state(Part::Module)
    };
    ensure_same("parameters trained while detecting", &trained(true)?, &trained(false)?)
}

/// The text of the cause.
fn failure(error: Option<regimen_core::Error>) -> Result<String, BoxError> {
    let error = error.ok_or("what is not finite is no error")?;
    Ok(error.source().map_or_else(|| format!("{error:#}"), ToString::to_string))
}
