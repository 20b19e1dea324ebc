//! Gradients that are exchanged during the backward pass.

use regimen_core::BoxError;
use regimen_core::engine::{Bucket, Engine, Mode, Part};

use super::exchange::change;
use super::measure::{ensure, ensure_same};
use super::task::{backward, forward};
use super::{EngineFixture, ROWS};

/// A backward pass with an exchange during it leaves the gradients of one followed by an exchange, also on a rank that has
/// nothing to add, and it fails if the exchange does.
pub fn an_exchange_during_backward_leaves_the_same_gradients<F: EngineFixture>(
    fixture: &F,
) -> Result<(), BoxError> {
    for bytes in [1, usize::MAX] {
        for has_loss in [true, false] {
            let [mut engine, mut other] = [fixture.plain(), fixture.plain()];
            backward(fixture, &mut engine, 0..ROWS / 3)?;
            backward(fixture, &mut other, 0..ROWS / 3)?;
            let loss = forward(fixture, &mut engine, Mode::Train, ROWS / 3..ROWS)?.mean;
            engine.backward_and_exchange(
                has_loss.then_some(&loss),
                Some(0.5),
                Some(0.25),
                bytes,
                &mut |bucket| {
                    change(bucket, |element| 3.0 * element);
                    Ok(())
                },
            )?;
            if has_loss {
                let loss = forward(fixture, &mut other, Mode::Train, ROWS / 3..ROWS)?.mean;
                other.backward(&loss, Some(0.5))?;
            }
            other.scale_gradients(0.25)?;
            other.exchange_gradients(bytes, &mut |bucket| {
                change(bucket, |element| 3.0 * element);
                Ok(())
            })?;
            let [found, expected] = [engine.state(Part::Gradients)?, other.state(Part::Gradients)?];
            ensure_same("gradients that were exchanged during the backward pass", &found, &expected)?;
        }
    }
    let mut engine = fixture.plain();
    let loss = forward(fixture, &mut engine, Mode::Train, 0..ROWS)?.mean;
    let fails = &mut |_: Bucket<'_>| Err("the other rank is gone".into());
    let failed = engine.backward_and_exchange(Some(&loss), None, None, 1, fails);
    let text = failed.map_or_else(|cause| cause.to_string(), |()| "no error".into());
    ensure(
        text == "the other rank is gone",
        format!("an exchange that failed in the backward pass is: {text}"),
    )
}
