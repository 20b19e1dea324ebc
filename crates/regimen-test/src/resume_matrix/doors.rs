//! The run through [`Runner`] and [`FitLoop`].

use std::cell::Cell;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use regimen::data::{Data, DataExt};
use regimen::fitloop::{FitLoop, max, record};
use regimen::runner::Runner;
use regimen_core::callback::Event;
use regimen_core::engine::{Engine, Part};
use regimen_core::peers::Peers;
use regimen_core::{BoxError, Loss, Step};

use super::crops::{Crop, Seen};
use super::fit::{
    CALLS, CROPS, EVAL_STEPS, Told, append, callbacks, check_restored, eval_data, limits, saver, settings,
    stop_after, train_data,
};
use super::{Leg, ResumeFixture};
use crate::engine_suite::EngineFixture;

/// Epochs of the run through [`FitLoop`], which has no limit but theirs.
const EPOCHS: u64 = 3;

/// So many that it has the steps of the other runs.
const CROPS_OF_EPOCH: u64 = CALLS / EPOCHS - EVAL_STEPS;

/// Through [`Runner`], with a metric of batches and one of epochs.
pub(super) fn by_runner<F: ResumeFixture>(
    fixture: &F,
    leg: Leg,
    dir: &Path,
    begun: bool,
    peers: Option<Arc<dyn Peers>>,
) -> Result<Told, BoxError> {
    let order = Order::default();
    let mut runner = Runner::with_step(fixture.regularized(), forward(fixture, &order), criterion::<F>)
        .metric("rows", |_, crop: &Crop| rows(crop))
        .epoch_metric("first row", |_, crop| Ok(vec![crop.0 as f64]), |rows| Ok(rows.iter().sum()))
        .map_unit(settings(fixture)?)
        .seed(11);
    for callback in callbacks(leg, dir) {
        runner = runner.callback(callback);
    }
    runner = runner.saver(saver(fixture, dir));
    if let Some(peers) = peers {
        runner = runner.peers(peers);
    }
    if let Some(stop) = leg.stop {
        let handle = runner.pause_handle();
        let stop_after = || stop_after(stop, &handle);
        runner = runner.on(Event::TrainStepEnd, stop_after()).on(Event::EvalStepEnd, stop_after());
    }
    check_restored(runner.restore_latest()?.is_some(), begun)?;
    let train = pairs(fixture.data(train_data(fixture, leg, CROPS)));
    let report = runner.fit(&train, &pairs(fixture.data(eval_data(fixture, leg))), limits())?;
    Ok((Some(report), order.take()))
}

/// Through [`FitLoop`], with all stages and the weights of the best validation.
pub(super) fn by_fit_loop<F: ResumeFixture>(
    fixture: &F,
    leg: Leg,
    dir: &Path,
    begun: bool,
    peers: Option<Arc<dyn Peers>>,
) -> Result<Told, BoxError> {
    let order = Order::default();
    let train = train_data(fixture, leg, CROPS_OF_EPOCH as usize);
    let mut trainer = FitLoop::with_step(fixture.regularized(), forward(fixture, &order), criterion::<F>)
        .train_data(pairs(fixture.data(train)))
        .valid_data(pairs(fixture.data(eval_data(fixture, leg))))
        .epoch_start(|s| Ok(record! { rows_before: s.sum("rows")? }))
        .step(|s| {
            let output = s.output();
            Ok((s.loss(&output)?, record! { rows: rows(&s.batch().1) }))
        })
        .epoch_end(|s| Ok(record! { loss: s.mean("loss")?, all_rows: s.sum("rows")? }))
        // The first validation has it, so the weights are kept over all later pauses.
        .criteria(max("loss"))
        .map_unit(settings(fixture)?)
        .seed(11);
    for callback in callbacks(leg, dir) {
        trainer = trainer.callback(callback);
    }
    let is_first = peers.as_ref().is_none_or(|peers| peers.rank().is_first());
    trainer = trainer.saver(saver(fixture, dir));
    if let Some(peers) = peers {
        trainer = trainer.peers(peers);
    }
    if let Some(stop) = leg.stop {
        let handle = trainer.pause_handle();
        let stop_after = || stop_after(stop, &handle);
        trainer = trainer.on(Event::TrainStepEnd, stop_after()).on(Event::EvalStepEnd, stop_after());
    }
    check_restored(trainer.restore_latest()?.is_some(), begun)?;
    let report = trainer.fit(EPOCHS)?;
    if leg.stop.is_none() && is_first {
        let best = trainer.runner().unit().engine().state(Part::Module)?;
        let lines = best.iter().map(|(name, array)| format!("{name} {:?}\n", array.bytes()));
        append(&dir.join("best.txt"), &lines.collect::<String>())?;
    }
    Ok((Some(report), order.take()))
}

fn rows(crop: &Crop) -> f64 {
    (crop.1 - crop.0) as f64
}

/// The crop of a batch as its target too, for metrics.
fn pairs<B>(data: impl Data<Batch = (Crop, B)>) -> impl Data<Batch = ((Crop, B), Crop)> {
    data.map_batches(|(crop, batch)| ((crop, batch), crop))
}

/// The rows of each step.
#[derive(Clone, Default)]
struct Order(Arc<Mutex<Vec<Seen>>>);

impl Order {
    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The loss of a batch. The criterion, which only borrows it, takes it out.
type Output<F> = Cell<Option<Result<Loss<Scalar<F>>, BoxError>>>;

type Scalar<F> = <<F as EngineFixture>::Engine as Engine>::Scalar;
type Module<F> = <<F as EngineFixture>::Engine as Engine>::Module;

fn forward<F: ResumeFixture>(
    fixture: &F,
    order: &Order,
) -> impl FnMut(&Step, &Module<F>, &(Crop, F::Batch)) -> Output<F> + Send + use<F> {
    let (fixture, Order(order)) = (fixture.clone(), order.clone());
    move |step: &Step, module: &Module<F>, (rows, batch): &(Crop, F::Batch)| {
        let mut order = order.lock().unwrap_or_else(PoisonError::into_inner);
        order.push(Seen::new(step, *rows));
        Cell::new(Some(fixture.loss(step.mode, module, batch)))
    }
}

fn criterion<F: ResumeFixture>(output: &Output<F>, _: &Crop) -> Result<Loss<Scalar<F>>, BoxError> {
    output.take().unwrap_or_else(|| Err("the loss is asked for twice".into()))
}
