//! The task of the run: a fixture's loss on some rows, with fault injection.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use regimen_core::auto_unit::{PredictTask, StepResults};
use regimen_core::engine::{Engine, Mode};
use regimen_core::{BoxError, Loss, State, Step, Task};

use super::ResumeFixture;
use super::trouble::{Fault, PLACES};

/// A range of rows: the first, and the one after the last.
pub(super) type Crop = (u64, u64);

/// A fixture's loss as a task that records its rows.
pub(super) struct Crops<'f, F> {
    fixture: &'f F,
    pub(super) order: Vec<Seen>,
    /// The current call is a manual pass, which is not recorded.
    pub(super) by_hand: bool,
    fault: Armed,
}

impl<'f, F> Crops<'f, F> {
    pub(super) fn new(fixture: &'f F, fault: &Armed) -> Self {
        Crops { fixture, order: Vec::new(), by_hand: false, fault: fault.clone() }
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
            self.order.push(Seen::new(step, *rows));
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

/// The record of a step.
#[derive(Clone)]
pub(super) struct Seen {
    step: String,
    rows: Crop,
}

impl Seen {
    pub(super) fn new(step: &Step, rows: Crop) -> Self {
        Seen { step: format!("{:?} {} of epoch {}", step.mode, step.index, step.epoch), rows }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: rows {:?}", self.step, self.rows)
    }
}

/// The steps of all ranks. The share of each rank in a batch must follow that of the rank before it.
pub(super) fn join(ranks: impl IntoIterator<Item = Vec<Seen>>) -> Result<Vec<Seen>, BoxError> {
    let mut ranks = ranks.into_iter();
    let mut all = ranks.next().unwrap_or_default();
    for rank in ranks {
        if rank.len() != all.len() {
            return Err("the ranks have made different numbers of steps".into());
        }
        for (all, share) in all.iter_mut().zip(rank) {
            if share.step != all.step || share.rows.0 != all.rows.1 {
                return Err(format!("the shares of two ranks do not adjoin\n{all}{share}").into());
            }
            all.rows.1 = share.rows.1;
        }
    }
    Ok(all)
}

/// A fault that occurs once.
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

    /// Fails at `place` if the fault is due after `steps` training steps.
    #[expect(clippy::panic, reason = "the fault is a panic")]
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
