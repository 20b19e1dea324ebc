//! The entry points for the simple case: no callbacks, seed 0, called once.

use super::{Evaluate, Predict, Report, Train};
use crate::data::Data;
use crate::unit::{EvalUnit, PredictUnit, TrainUnit};
use crate::{BoxError, Error, Fit, Run};

/// Trains `unit` on `data`: see [`Run::train`].
pub fn train<U, D>(unit: &mut U, data: &D, config: Train) -> Result<Report, Error>
where
    U: TrainUnit + ?Sized,
    D: Data<Batch = U::Batch> + ?Sized,
{
    Run::new(unit).train(data, config)
}

/// Evaluates `unit` once over `data`: see [`Run::evaluate`].
pub fn evaluate<U, D>(unit: &mut U, data: &D, config: Evaluate) -> Result<Report, Error>
where
    U: EvalUnit + ?Sized,
    D: Data<Batch = U::Batch> + ?Sized,
{
    Run::new(unit).evaluate(data, config)
}

/// Predicts once over `data` and hands each output to `sink`: see [`Run::predict`].
pub fn predict<U, D>(
    unit: &mut U,
    data: &D,
    config: Predict,
    sink: impl FnMut(U::Output) -> Result<(), BoxError>,
) -> Result<Report, Error>
where
    U: PredictUnit + ?Sized,
    D: Data<Batch = U::Batch> + ?Sized,
{
    Run::new(unit).predict(data, config, sink)
}

/// Trains `unit` on `train_data` and evaluates it on `eval_data` in between: see [`Run::fit`].
pub fn fit<U, T, E>(unit: &mut U, train_data: &T, eval_data: &E, config: Fit) -> Result<Report, Error>
where
    U: TrainUnit + EvalUnit + ?Sized,
    T: Data<Batch = <U as TrainUnit>::Batch> + ?Sized,
    E: Data<Batch = <U as EvalUnit>::Batch> + ?Sized,
{
    Run::new(unit).fit(train_data, eval_data, config)
}
