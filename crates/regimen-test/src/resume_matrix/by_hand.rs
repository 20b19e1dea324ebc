//! Manual passes between the parts of the run, over other data.

use std::fs;
use std::path::Path;

use regimen_core::data::Data;
use regimen_core::run::{Evaluate, Predict};
use regimen_core::{AutoUnit, BoxError, Run};

use super::ResumeFixture;
use super::crops::{Crop, Crops};
use super::fit::append;

/// The file of predictions.
const PREDICTIONS: &str = "predictions";

/// The predictions of [`Crops`], in the order of the data.
const EXPECTED: &str = "(0, 5)\n(8, 14)\n(16, 23)\n";

type CropRun<'r, 'f, F> = Run<'r, AutoUnit<<F as crate::engine_suite::EngineFixture>::Engine, Crops<'f, F>>>;

/// Evaluates and predicts other data.
pub(super) fn pass_by_hand<F: ResumeFixture>(
    run: &mut CropRun<'_, '_, F>,
    data: &impl Data<Batch = (Crop, F::Batch)>,
) -> Result<(), BoxError> {
    run.unit_mut().task_mut().by_hand = true;
    run.evaluate(data, Evaluate::steps(2))?;
    run.predict(data, Predict::whole(), |_| Ok(()))?;
    run.unit_mut().task_mut().by_hand = false;
    Ok(())
}

/// A resumable prediction.
fn resumed() -> Predict {
    Predict::whole().resume("other data")
}

/// Starts a prediction to a file, which is paused after its first output.
pub(super) fn predict<F: ResumeFixture>(
    run: &mut CropRun<'_, '_, F>,
    data: &impl Data<Batch = (Crop, F::Batch)>,
    dir: &Path,
) -> Result<(), BoxError> {
    let handle = run.pause_handle();
    run.predict(data, resumed(), |rows| {
        handle.pause("told to");
        append(&dir.join(PREDICTIONS), &format!("{rows:?}\n"))
    })?;
    Ok(())
}

/// Continues the prediction twice. The second time nothing is left to predict.
pub(super) fn continue_prediction<F: ResumeFixture>(
    run: &mut CropRun<'_, '_, F>,
    data: &impl Data<Batch = (Crop, F::Batch)>,
    dir: &Path,
) -> Result<(), BoxError> {
    let path = dir.join(PREDICTIONS);
    for _ in 0..2 {
        run.predict(data, resumed(), |rows| append(&path, &format!("{rows:?}\n")))?;
    }
    let found = fs::read_to_string(&path)?;
    fs::remove_file(&path)?;
    if found == EXPECTED { Ok(()) } else { Err(format!("the predictions are {found:?}").into()) }
}
