//! The task of the run: a fixture's loss of some rows, in which a fault can strike.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use regimen_core::auto_unit::{PredictTask, StepResults};
use regimen_core::engine::{Engine, Mode};
use regimen_core::{BoxError, Loss, State, Step, Task};

use super::ResumeFixture;
use super::trouble::{Fault, PLACES};

/// The first row, and the one after the last, of a run of rows.
pub(super) type Crop = (u64, u64);

/// The loss of a fixture as a task that writes down which rows it was given.
pub(super) struct Crops<'f, F> {
    fixture: &'f F,
    /// Which rows came in which step, a line each.
    pub(super) order: String,
    /// The call under way is one by hand, of which nothing is written down.
    pub(super) by_hand: bool,
    fault: Armed,
}

impl<'f, F> Crops<'f, F> {
    pub(super) fn new(fixture: &'f F, fault: &Armed) -> Self {
        Crops { fixture, order: String::new(), by_hand: false, fault: fault.clone() }
    }
}

impl<F: ResumeFixture> Task<F::Engine> for Crops<'_, F> {
    type Batch = (Crop, F::Batch);
    type Output = ();

    fn compute_loss(
        &mut self,
        step: &Step,
        module: &<F::Engine as Engine>::Module,
        (rows, batch): &Self::Batch,
    ) -> Result<(Loss<<F::Engine as Engine>::Scalar>, ()), BoxError> {
        if !self.by_hand {
            writeln!(self.order, "{:?} {} of epoch {}: rows {rows:?}", step.mode, step.index, step.epoch)?;
            if step.is_train() {
                self.fault.strike("loss", step.index)?;
            }
        }
        Ok((self.fixture.loss(step.mode, module, batch)?, ()))
    }

    fn on_train_step_end(
        &mut self,
        state: &mut State,
        _: &Self::Batch,
        _: StepResults<()>,
    ) -> Result<(), BoxError> {
        self.fault.strike("on_train_step_end", state.train_progress().steps)
    }
}

impl<F: ResumeFixture> PredictTask<F::Engine> for Crops<'_, F> {
    type Input = (Crop, F::Batch);
    type Prediction = Crop;

    fn predict(
        &mut self,
        _: &Step,
        module: &<F::Engine as Engine>::Module,
        (rows, batch): Self::Input,
    ) -> Result<Crop, BoxError> {
        self.fixture.loss(Mode::Eval, module, &batch)?;
        Ok(rows)
    }
}

/// A fault that strikes once.
#[derive(Clone)]
pub(super) struct Armed {
    fault: Option<Fault>,
    waits: Arc<AtomicBool>,
}

impl Armed {
    pub(super) fn new(fault: Option<Fault>) -> Self {
        Armed { fault, waits: Arc::new(AtomicBool::new(fault.is_some())) }
    }

    pub(super) fn has_struck(&self) -> bool {
        self.fault.is_some() && !self.waits.load(Ordering::Relaxed)
    }

    /// Comes to `place`, with so many training steps made.
    #[expect(clippy::panic, reason = "to panic is what it was told")]
    fn strike(&self, place: &str, steps: u64) -> Result<(), BoxError> {
        let Some(fault) = self.fault.filter(|fault| PLACES[fault.place] == place && fault.at <= steps) else {
            return Ok(());
        };
        match (self.waits.swap(false, Ordering::Relaxed), fault.panics) {
            (false, _) => Ok(()),
            (true, false) => Err("told to fail".into()),
            (true, true) => panic!("told to panic"),
        }
    }

    pub(super) fn hook<E>(
        &self,
        place: &'static str,
    ) -> impl FnMut(&mut E, &mut State) -> Result<(), BoxError> + Send + use<E> {
        let armed = self.clone();
        move |_, state| armed.strike(place, state.train_progress().steps)
    }
}
