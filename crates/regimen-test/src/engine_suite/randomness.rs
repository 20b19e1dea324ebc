//! Dropout: the same under one seed, and none in evaluation.

use std::ops::Range;

use regimen_core::BoxError;
use regimen_core::engine::{Engine, Mode, Part, ToDevice};

use super::measure::{all_numbers, ensure, ensure_same};
use super::task::{forward, unit};
use super::{EngineFixture, ROWS};

/// The same seed gives the same dropout, another seed another. Without a seed draws continue.
pub fn seeding_repeats_dropout<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let engine = &mut fixture.regularized();
    let first = seeded(fixture, engine, 7)?;
    let next = train_loss(fixture, engine)?;
    ensure(next != first, "two forward passes drop alike: is there dropout in the regularized module?")?;
    ensure(seeded(fixture, engine, 8)? != first, "two seeds give the same dropout")?;
    ensure(seeded(fixture, engine, 7)? == first, "one seed gives two different dropouts")?;
    ensure(train_loss(fixture, engine)? == next, "one seed gives two different second draws")
}

/// Evaluation and prediction have no dropout, change nothing, and record no gradients. They leave the module
/// in its training mode, after a failure too.
pub fn the_evaluation_view_only_looks<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let engine = &mut fixture.regularized();
    let rows: Range<u64> = 0..ROWS;
    let trained = seeded(fixture, engine, 7)?;
    for mode in [Mode::Eval, Mode::Predict] {
        let before = engine.state(Part::Module)?;
        let mut values = Vec::new();
        for seed in [7, 8] {
            engine.seed(seed);
            let loss = forward(fixture, engine, mode, rows.clone())?.mean;
            values.push(engine.value(&loss)?);
            // An engine may also refuse.
            let _ = engine.backward(&loss, None);
            let held = all_numbers(&engine.state(Part::Gradients)?)?;
            ensure(held.iter().all(|&element| element == 0.0), format!("{mode:?} gives gradients"))?;
            engine.discard_gradients();
        }
        ensure(values[0] == values[1], format!("{mode:?} depends on the seed"))?;
        ensure(values[0] != trained, format!("{mode:?} has dropout"))?;
        ensure_same(&format!("the module after {mode:?}"), &engine.state(Part::Module)?, &before)?;
        ensure(
            module_loss(fixture, engine)? == trained,
            format!("{mode:?} leaves the module out of training"),
        )?;
    }

    let mut unit = unit(fixture, fixture.regularized());
    let broken =
        regimen_core::run::evaluate(&mut unit, &[fixture.misshapen()], regimen_core::run::Evaluate::whole());
    ensure(broken.is_err(), "the misshapen batch fits the module")?;
    let after = module_loss(fixture, unit.engine_mut())?;
    ensure(after == trained, "a failed evaluation leaves the module out of training")
}

fn seeded<F: EngineFixture>(fixture: &F, engine: &mut F::Engine, seed: u64) -> Result<f64, BoxError> {
    engine.seed(seed);
    train_loss(fixture, engine)
}

fn train_loss<F: EngineFixture>(fixture: &F, engine: &mut F::Engine) -> Result<f64, BoxError> {
    let loss = forward(fixture, engine, Mode::Train, 0..ROWS)?;
    engine.value(&loss.mean)
}

/// The loss of the present module under seed 7.
fn module_loss<F: EngineFixture>(fixture: &F, engine: &mut F::Engine) -> Result<f64, BoxError> {
    engine.seed(7);
    let batch = fixture.batch(0..ROWS).move_to(&engine.device(Mode::Train))?;
    let loss = fixture.loss(Mode::Train, engine.module(), &batch)?;
    engine.value(&loss.mean)
}
