//! A guard that rolls a run back if a number is not finite.

use regimen_core::data::Data;
use regimen_core::run::{Fit, Report, Train};
use regimen_core::unit::{EvalUnit, TrainUnit};
use regimen_core::{Error, Run};

/// Trains, and goes on from the latest checkpoint if a loss or a gradient is not finite. The batch of that step
/// is passed over, and a [notice](regimen_core::callback::Event::Notice) says so.
///
/// This is the third policy beside [`NonFinite::Error`](crate::auto_unit::NonFinite::Error), which stops and
/// which it needs, and [`NonFinite::Skip`](crate::auto_unit::NonFinite::Skip), which leaves out the update.
/// Weights, optimizer, metrics and callbacks are those of the checkpoint, and so are the logs that are cut back
/// by a restore. A unit written by hand returns [`NotFinite`](crate::error::NotFinite).
///
/// The same batches are passed over by a run that is killed and restarted with a guard, so it ends with the same
/// bits. A batch is known by its number in its epoch: after a restart in the same epoch with another batch size
/// it is another batch.
///
/// It does not matter who finds the number: the step, a callback that reads the metric, a save, or the end of an
/// epoch or of training. A gradient that is not finite under a finite loss is known in its own step only if
/// [`clip_norm`](crate::AutoUnit::clip_norm) takes its norm. Of an accumulated gradient, the last batch of the
/// window is passed over. Weights that are not finite when training ends are of its last step.
///
/// After too many roll-backs to one checkpoint the error is returned, with the run at that checkpoint. The error
/// is also returned if there is no checkpoint yet, if the run has no saver, among several ranks, and if
/// only an evaluation meets the number. The report has the epochs since the last roll-back.
///
/// ```
/// # use regimen::unit::TrainUnit;
/// # use regimen::saved::AppState;
/// # use regimen::{Error, Run};
/// # use regimen::callback::Every;
/// # use regimen::checkpoint::Checkpointer;
/// # fn example<U: AppState + TrainUnit<Batch = u64>>(unit: &mut U, data: &[u64]) -> Result<(), Error> {
/// use regimen::run::{NanGuard, Train};
///
/// let mut run = Run::new(unit).saver(Checkpointer::new("runs/mine").every(Every::steps(500)));
/// run.restore_latest()?;
/// let report = NanGuard::new().roll_backs(5).train(&mut run, data, Train::epochs(10))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct NanGuard {
    roll_backs: u64,
}

impl NanGuard {
    /// A guard with at most 3 roll-backs to one checkpoint.
    pub fn new() -> Self {
        NanGuard { roll_backs: 3 }
    }

    /// Sets the most roll-backs to one checkpoint. With 0 the first error is returned.
    pub fn roll_backs(mut self, n: u64) -> Self {
        self.roll_backs = n;
        self
    }

    /// Calls [`Run::train`] until it returns anything but an error to roll back from.
    pub fn train<U, D>(self, run: &mut Run<'_, U>, data: &D, config: Train) -> Result<Report, Error>
    where
        U: TrainUnit,
        D: Data<Batch = U::Batch> + ?Sized,
    {
        self.guard(run, |run| run.train(data, config))
    }

    /// Calls [`Run::fit`] until it returns anything but an error to roll back from.
    pub fn fit<U, T, E>(self, run: &mut Run<'_, U>, train: &T, eval: &E, config: Fit) -> Result<Report, Error>
    where
        U: TrainUnit + EvalUnit,
        T: Data<Batch = <U as TrainUnit>::Batch> + ?Sized,
        E: Data<Batch = <U as EvalUnit>::Batch> + ?Sized,
    {
        self.guard(run, |run| run.fit(train, eval, config))
    }

    fn guard<'a, U>(
        self,
        run: &mut Run<'a, U>,
        mut call: impl FnMut(&mut Run<'a, U>) -> Result<Report, Error>,
    ) -> Result<Report, Error> {
        let (mut to, mut in_a_row) = (None, 0);
        loop {
            let mut error = match call(run) {
                Err(error) if 0 < self.roll_backs => error,
                result => return result,
            };
            let step = match run.roll_back(&error) {
                Ok(Some(restored)) => restored.step,
                Ok(None) => return Err(error),
                Err(other) => {
                    error.suppress(other);
                    return Err(error);
                }
            };
            in_a_row = if to == Some(step) { in_a_row + 1 } else { 1 };
            to = Some(step);
            if self.roll_backs < in_a_row {
                error.suppress(Error::config(format!(
                    "`NanGuard::roll_backs`: it was rolled back {} times to step {step} before",
                    self.roll_backs
                )));
                return Err(error);
            }
        }
    }
}

impl Default for NanGuard {
    fn default() -> Self {
        NanGuard::new()
    }
}
