//! An evaluation before the training.

use regimen_core::data::Data;
use regimen_core::run::{Fit, Report};
use regimen_core::saved::AppState;
use regimen_core::unit::{EvalUnit, TrainUnit};
use regimen_core::{Error, Run};

use crate::run::FastDevRun;

/// Evaluates a few batches before a training, so that an error in the evaluation does not come after a whole epoch.
///
/// The evaluation is a [dry run](Run::dry_run): its metrics are neither logged nor judged, and the run that follows has
/// the same bits as one without it. It also comes before a training that was restored.
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
/// use regimen::run::SanityEvaluation;
///
/// let report = SanityEvaluation::steps(2).fit(&mut run, train, valid, Fit::epochs(10))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct SanityEvaluation {
    steps: u64,
}

impl SanityEvaluation {
    /// Of `n` steps. With 0 there is none.
    pub const fn steps(n: u64) -> Self {
        SanityEvaluation { steps: n }
    }

    /// Evaluates on the first batches of `eval`, and then calls [`Run::fit`]. The report is that of the fit, with the notices
    /// of both.
    pub fn fit<U, T, E>(self, run: &mut Run<'_, U>, train: &T, eval: &E, config: Fit) -> Result<Report, Error>
    where
        U: TrainUnit + EvalUnit + AppState,
        T: Data<Batch = <U as TrainUnit>::Batch> + ?Sized,
        E: Data<Batch = <U as EvalUnit>::Batch> + ?Sized,
    {
        if self.steps == 0 {
            return run.fit(train, eval, config);
        }
        let notices = FastDevRun::batches(self.steps).evaluate(run, eval)?.notices;
        let mut report = run.fit(train, eval, config)?;
        report.notices.splice(0..0, notices);
        Ok(report)
    }
}
