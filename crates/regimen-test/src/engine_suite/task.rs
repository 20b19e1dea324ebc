//! The fixture as a task, and operations shared by the checks.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use regimen_core::engine::{Engine, Mode, Part, ToDevice};
use regimen_core::run::Train;
use regimen_core::saved::StateDict;
use regimen_core::{AutoUnit, BoxError, Loss, Run, Step, Task};

use super::{EngineFixture, ROWS};

pub(super) type Scalar<F> = <<F as EngineFixture>::Engine as Engine>::Scalar;

/// The loss of a fixture as a task.
pub(super) struct FixtureTask<'f, F>(&'f F);

pub(super) type Unit<'f, F> = AutoUnit<<F as EngineFixture>::Engine, FixtureTask<'f, F>>;

impl<F: EngineFixture> Task<F::Engine> for FixtureTask<'_, F> {
    type Batch = F::Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        step: &Step,
        module: &<F::Engine as Engine>::Module,
        batch: &F::Batch,
    ) -> Result<(Loss<Scalar<F>>, ()), BoxError> {
        Ok((self.0.loss(step.mode, module, batch)?, ()))
    }
}

/// `engine` and the loss of `fixture` as a unit, with a rate that falls with the updates.
pub(super) fn unit<F: EngineFixture>(fixture: &F, engine: F::Engine) -> Unit<'_, F> {
    let rate = fixture.learning_rate();
    AutoUnit::new(engine, FixtureTask(fixture)).learning_rate(move |n: u64| rate / (1 + n) as f64)
}

/// Consecutive batches of `sizes` rows, from the first row on.
pub(super) fn batches<F: EngineFixture>(fixture: &F, sizes: &[u64]) -> Vec<F::Batch> {
    let mut end = 0;
    let mut next = |size: &u64| {
        end += size;
        fixture.batch(end - size..end)
    };
    sizes.iter().map(&mut next).collect()
}

/// The loss of some rows on the module for `mode`.
pub(super) fn forward<F: EngineFixture>(
    fixture: &F,
    engine: &mut F::Engine,
    mode: Mode,
    rows: Range<u64>,
) -> Result<Loss<Scalar<F>>, BoxError> {
    let batch = fixture.batch(rows).move_to(&engine.device(mode))?;
    engine.with_module(mode, |module| fixture.loss(mode, module, &batch))
}

/// The loss of all rows in evaluation, which depends on running statistics too.
pub(super) fn eval_loss<F: EngineFixture>(fixture: &F, engine: &mut F::Engine) -> Result<f64, BoxError> {
    let loss = forward(fixture, engine, Mode::Eval, 0..ROWS)?;
    engine.value(&loss.mean)
}

/// Holds the gradients of the mean loss over some rows, and returns a copy.
pub(super) fn backward<F: EngineFixture>(
    fixture: &F,
    engine: &mut F::Engine,
    rows: Range<u64>,
) -> Result<StateDict, BoxError> {
    let loss = forward(fixture, engine, Mode::Train, rows)?;
    engine.backward(&loss.mean, None)?;
    engine.state(Part::Gradients)
}

/// The gradient of the first update that `AutoUnit` makes of `batches` in windows of `accumulate`.
pub(super) fn first_update<F: EngineFixture>(
    fixture: &F,
    batches: &[F::Batch],
    accumulate: u64,
) -> Result<StateDict, BoxError> {
    let seen = Seen::default();
    let hook = seen.clone();
    let mut unit = unit(fixture, fixture.plain()).accumulate(accumulate).before_update(move |engine, _| {
        hook.push(engine.state(Part::Gradients)?);
        Ok(())
    });
    Run::new(&mut unit).train(batches, Train::epochs(1))?;
    seen.take().into_iter().next().ok_or_else(|| "no update was made".into())
}

/// A list that a hook writes into.
pub(super) struct Seen<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Seen(Arc::default())
    }
}

impl<T> Clone for Seen<T> {
    fn clone(&self) -> Self {
        Seen(self.0.clone())
    }
}

impl<T> Seen<T> {
    pub(super) fn push(&self, item: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(item);
    }

    pub(super) fn take(&self) -> Vec<T> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
