//! Computation in other types than the parameters'.

use regimen_core::auto_unit::GradientScaler;
use regimen_core::engine::{Engine, Mode, Part, Precision};
use regimen_core::error::WithCauses;
use regimen_core::run::Train;
use regimen_core::saved::StateDict;
use regimen_core::{BoxError, Run};

use super::measure::{all_numbers, ensure, ensure_close, ensure_same};
use super::task::{backward, batches, eval_loss, forward, unit};
use super::{EngineFixture, ROWS};

/// Tolerance of gradients against those of single precision.
fn tolerance(precision: Precision, of_engine: f64) -> f64 {
    match precision {
        Precision::F32 => of_engine,
        Precision::TF32 | Precision::F16 => 0.02,
        Precision::BF16 => 0.1,
    }
}

/// Each precision is either refused by name, and nothing changes, or it works: gradients are near those of
/// single precision and not the same, parameters keep their types, and training lowers the loss. Back in
/// single precision all is as before.
pub fn each_precision_trains_or_is_refused<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    Precision::ALL.into_iter().try_for_each(|precision| {
        check(fixture, precision).map_err(|cause| format!("{precision}: {}", WithCauses(&*cause)).into())
    })
}

fn check<F: EngineFixture>(fixture: &F, precision: Precision) -> Result<(), BoxError> {
    let mut engine = fixture.plain();
    let module = engine.state(Part::Module)?;
    let exact = gradients(fixture, &mut engine)?;
    if let Err(refused) = engine.set_precision(precision) {
        ensure(precision != Precision::F32, "it is refused")?;
        let named = refused.to_string().contains(precision.name());
        ensure(named, format!("it is refused without its name: {refused}"))?;
        return ensure_same("gradients after it was refused", &gradients(fixture, &mut engine)?, &exact);
    }
    let found = gradients(fixture, &mut engine)?;
    exact.check_same_layout(&found).map_err(|cause| format!("gradients: {cause}"))?;
    let (numbers, expected) = (all_numbers(&found)?, all_numbers(&exact)?);
    ensure_close("gradients", &numbers, &expected, tolerance(precision, fixture.tolerance()))?;
    let is_half = matches!(precision, Precision::BF16 | Precision::F16);
    ensure(!is_half || found != exact, "gradients are those of single precision")?;
    ensure_same("parameters after a backward pass", &engine.state(Part::Module)?, &module)?;
    for mode in [Mode::Eval, Mode::Predict] {
        let loss = forward(fixture, &mut engine, mode, 0..ROWS)?;
        ensure(engine.value(&loss.mean)?.is_finite(), format!("the loss for {mode:?} is not finite"))?;
    }
    engine.set_precision(Precision::F32)?;
    ensure_same("gradients back in single precision", &gradients(fixture, &mut engine)?, &exact)?;

    let before = eval_loss(fixture, &mut engine)?;
    let mut unit = unit(fixture, engine)
        .precision(precision)
        .gradient_scaler(GradientScaler::new().initial(256.0))
        .accumulate(2)
        .clip_norm(1.0);
    Run::new(&mut unit).train(&batches(fixture, &[4, 6, 8, 6]), Train::epochs(6))?;
    unit.engine().state(Part::Module)?.check_same_layout(&module)?;
    let after = eval_loss(fixture, unit.engine_mut())?;
    ensure(after < before, format!("training took the loss from {before} to {after}"))?;
    ensure(unit.skipped() == 0, format!("{} updates were skipped", unit.skipped()))
}

fn gradients<F: EngineFixture>(fixture: &F, engine: &mut F::Engine) -> Result<StateDict, BoxError> {
    engine.discard_gradients();
    backward(fixture, engine, 0..ROWS)
}
