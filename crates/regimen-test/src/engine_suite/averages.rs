//! Averages of a module's weights.

use std::panic::{AssertUnwindSafe, catch_unwind};

use regimen_core::auto_unit::{Averaging, NonFinite};
use regimen_core::callback::Event;
use regimen_core::engine::{Engine, Part};
use regimen_core::error::WithCauses;
use regimen_core::run::Train;
use regimen_core::saved::{StateDict, Stateful};
use regimen_core::{BoxError, Run};

use super::measure::{all_numbers, changed, ensure, ensure_close, ensure_same};
use super::task::{Seen, backward, batches, eval_loss, unit};
use super::{EngineFixture, ROWS};

/// Copied, partly moved and exchanged weights match a computation by hand on the states. The module's own are
/// untouched by the first two, and restored to the bit by a second exchange.
pub fn weights_are_copied_blended_and_exchanged<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let mut engine = fixture.regularized();
    let first = engine.state(Part::Module)?;
    let mut weights = engine.weights()?;
    ensure_same("a copy of the weights", &weights.state_dict()?, &first)?;
    train_a_little(fixture, &mut engine)?;
    let second = engine.state(Part::Module)?;
    ensure_same("a copy after a step", &weights.state_dict()?, &first)?;

    for (share, buffer_share) in [(0.25, 0.25), (0.5, 1.0), (0.125, 0.0), (0.0, 0.5)] {
        weights.load_state_dict(&first)?;
        engine.blend(&mut weights, share, buffer_share)?;
        let expected = by_hand(&engine, &first, &second, share, buffer_share)?;
        let found = all_numbers(&weights.state_dict()?)?;
        ensure_close("blended weights", &found, &all_numbers(&expected)?, fixture.tolerance())?;
        ensure_same("parameters after blending", &engine.state(Part::Module)?, &second)?;
    }
    engine.blend(&mut weights, 1.0, 1.0)?;
    ensure_same("weights blended by 1", &weights.state_dict()?, &second)?;

    weights.load_state_dict(&first)?;
    let loss = eval_loss(fixture, &mut engine)?;
    engine.swap_weights(&mut weights);
    ensure_same("parameters after an exchange", &engine.state(Part::Module)?, &first)?;
    ensure_same("weights after an exchange", &weights.state_dict()?, &second)?;
    ensure(eval_loss(fixture, &mut engine)? != loss, "the loss does not follow exchanged weights")?;
    engine.swap_weights(&mut weights);
    ensure_same("parameters exchanged twice", &engine.state(Part::Module)?, &second)?;
    ensure(eval_loss(fixture, &mut engine)? == loss, "the loss is another after two exchanges")?;
    // And training continues unaffected.
    train_a_little(fixture, &mut engine)?;
    let mut undisturbed = fixture.regularized();
    (0..2).try_for_each(|_| train_a_little(fixture, &mut undisturbed))?;
    ensure_same("parameters trained further", &engine.state(Part::Module)?, &undisturbed.state(Part::Module)?)
}

/// The average of `AutoUnit` under accumulation and with a skipped update is the mean, or the moving mean, of
/// the weights after its updates. Evaluation uses it, and a panic leaves no trace of it.
pub fn averages_agree_with_a_hand_computation<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    for averaging in [
        Averaging::swa(),
        Averaging::swa().take_buffers().warm_up(1),
        Averaging::ema(0.5).every_nth(2),
        Averaging::ema(0.9).ramp(),
    ] {
        check_average(fixture, averaging)
            .map_err(|cause| format!("{averaging:?}: {}", WithCauses(&*cause)))?;
    }
    Ok(())
}

fn check_average<F: EngineFixture>(fixture: &F, averaging: Averaging) -> Result<(), BoxError> {
    let mut unit = unit(fixture, fixture.regularized())
        .accumulate(2)
        .non_finite(NonFinite::Skip)
        .average(averaging)
        .after_backward(|engine, state| match state.train_progress().steps {
            3 => engine.scale_gradients(f64::NAN),
            _ => Ok(()),
        });
    let after_updates = Seen::default();
    let seen = after_updates.clone();
    let all = batches(fixture, &[2, 3, 4, 2, 5, 3, 5]);
    let mut run = Run::new(&mut unit).on(Event::TrainStepEnd, move |state, unit| {
        // Windows of 2, 2, 2 and 1; the second is skipped.
        if [2, 6, 7].contains(&(state.train_progress().steps)) {
            seen.push(unit.engine().state(Part::Module)?);
        }
        Ok::<(), BoxError>(())
    });
    run.train(&all, Train::epochs(1))?;
    drop(run);
    let states = after_updates.take();
    ensure(states.len() == 3, format!("{} updates were seen, not 3", states.len()))?;

    // Shares of the second and third average, and their updates.
    let (taken, shares, takes_buffers): (&[usize], &[f64], bool) = match averaging {
        _ if averaging == Averaging::swa() => (&[0, 1, 2], &[1.0 / 2.0, 1.0 / 3.0], false),
        _ if averaging == Averaging::ema(0.5).every_nth(2) => (&[0, 2], &[0.5], false),
        _ if averaging == Averaging::ema(0.9).ramp() => {
            (&[0, 1, 2], &[1.0 - 3.0 / 12.0, 1.0 - 4.0 / 13.0], false)
        }
        _ => (&[1, 2], &[1.0 / 2.0], true),
    };
    let mut expected = states[taken[0]].clone();
    for (&i, &share) in taken[1..].iter().zip(shares) {
        let buffer_share = if takes_buffers { 1.0 } else { share };
        expected = by_hand(unit.engine(), &expected, &states[i], share, buffer_share)?;
    }
    let trained = unit.engine().state(Part::Module)?;
    let average = unit.with_averaged_weights(|engine| engine.state(Part::Module))?;
    ensure_close(
        "the average",
        &all_numbers(&average)?,
        &all_numbers(&expected)?,
        4.0 * fixture.tolerance(),
    )?;
    ensure_same("what is trained", &unit.engine().state(Part::Module)?, &trained)?;

    let mut other = fixture.regularized();
    other.load_state(Part::Module, &average)?;
    let expected = eval_loss(fixture, &mut other)?;
    let found = unit.with_averaged_weights(|engine| eval_loss(fixture, engine))?;
    ensure(found == expected, format!("the loss of the average is {found}, not {expected}"))?;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        unit.with_averaged_weights(|engine| {
            engine.with_module(regimen_core::engine::Mode::Eval, |_| std::panic::resume_unwind(Box::new(())))
        })
    }));
    ensure(panicked.is_err(), "the panic was lost")?;
    ensure_same("what is trained, after a panic", &unit.engine().state(Part::Module)?, &trained)
}

/// A step that changes running statistics and an optimizer's state.
fn train_a_little<F: EngineFixture>(fixture: &F, engine: &mut F::Engine) -> Result<(), BoxError> {
    engine.seed(5);
    backward(fixture, engine, 0..ROWS)?;
    engine.step(&vec![fixture.learning_rate(); engine.groups().len()])
}

/// `from` moved towards `to`; arrays with a gradient are parameters, the rest are buffers.
fn by_hand<E: Engine>(
    engine: &E,
    from: &StateDict,
    to: &StateDict,
    share: f64,
    buffer_share: f64,
) -> Result<StateDict, BoxError> {
    let mut moved = StateDict::new();
    for (name, array) in from.iter() {
        let mut one = StateDict::new();
        one.insert(name, array.clone())?;
        // A state of gradients with a buffer in it is an error.
        let share = if engine.check_state(Part::Gradients, &one).is_ok() { share } else { buffer_share };
        let mut target = StateDict::new();
        target.insert(name, to.array(name)?.clone())?;
        let mut targets = all_numbers(&target)?.into_iter();
        let one = changed(&one, |x| x + share * (targets.next().unwrap_or(f64::NAN) - x))?;
        moved.insert(name, one.array(name)?.clone())?;
    }
    Ok(moved)
}
