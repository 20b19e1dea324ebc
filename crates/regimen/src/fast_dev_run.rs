//! A few batches of everything, before a long run.

use regimen_core::data::Data;
use regimen_core::run::{Evaluate, Fit, Predict, Report, Train};
use regimen_core::saved::AppState;
use regimen_core::unit::{EvalUnit, PredictUnit, TrainUnit};
use regimen_core::{Error, Run};

/// Runs a few batches of a training, an evaluation or a prediction, to see that they work.
///
/// It is a [dry run](Run::dry_run), without the callbacks, logs and saver of the run: nothing is written, and the unit
/// is put back as it was. A long run begins safely with one, and with
/// [`DataExt::overfit_batches`](crate::data::DataExt::overfit_batches), whose loss must fall.
///
/// ```
/// # use regimen::data::Data;
/// # use regimen::saved::AppState;
/// # use regimen::unit::{EvalUnit, TrainUnit};
/// # use regimen::{Error, Fit, Run};
/// # fn example<U, B>(mut run: Run<'_, U>, train: &impl Data<Batch = B>, valid: &impl Data<Batch = B>) -> Result<(), Error>
/// # where
/// #     U: TrainUnit<Batch = B> + EvalUnit<Batch = B> + AppState,
/// # {
/// use regimen::run::FastDevRun;
///
/// let report = FastDevRun::batches(2).fit(&mut run, train, valid)?;
/// println!("{report}"); // training complete after 1 epoch, 2 steps
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct FastDevRun {
    batches: u64,
}

impl FastDevRun {
    /// Of `n` batches of each data; 0 is an error when it is run.
    pub const fn batches(n: u64) -> Self {
        FastDevRun { batches: n }
    }

    /// Trains on the first batches of `data`, as one epoch.
    pub fn train<U, D>(self, run: &mut Run<'_, U>, data: &D) -> Result<Report, Error>
    where
        U: TrainUnit + AppState,
        D: Data<Batch = U::Batch> + ?Sized,
    {
        let limits = Train::epochs(1).steps_per_epoch(self.checked()?);
        run.dry_run(|mut dry| dry.train(data, limits))?
    }

    /// Trains on the first batches of `train`, as one epoch, and evaluates on those of `eval`.
    pub fn fit<U, T, E>(self, run: &mut Run<'_, U>, train: &T, eval: &E) -> Result<Report, Error>
    where
        U: TrainUnit + EvalUnit + AppState,
        T: Data<Batch = <U as TrainUnit>::Batch> + ?Sized,
        E: Data<Batch = <U as EvalUnit>::Batch> + ?Sized,
    {
        let n = self.checked()?;
        let limits = Fit::epochs(1).steps_per_epoch(n).eval_steps(n);
        run.dry_run(|mut dry| dry.fit(train, eval, limits))?
    }

    /// Evaluates on the first batches of `data`.
    pub fn evaluate<U, D>(self, run: &mut Run<'_, U>, data: &D) -> Result<Report, Error>
    where
        U: EvalUnit + AppState,
        D: Data<Batch = U::Batch> + ?Sized,
    {
        let limits = Evaluate::steps(self.checked()?);
        run.dry_run(|mut dry| dry.evaluate(data, limits))?
    }

    /// Predicts on the first batches of `data`, and drops the outputs.
    pub fn predict<U, D>(self, run: &mut Run<'_, U>, data: &D) -> Result<Report, Error>
    where
        U: PredictUnit + AppState,
        D: Data<Batch = U::Batch> + ?Sized,
    {
        let limits = Predict::steps(self.checked()?);
        run.dry_run(|mut dry| dry.predict(data, limits, |_| Ok(())))?
    }

    fn checked(self) -> Result<u64, Error> {
        match self.batches {
            0 => Err(Error::config("`FastDevRun`: 0 batches show nothing; give 1 or more")),
            n => Ok(n),
        }
    }
}
