//! Short runs of every stage, whose changes are undone.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{FitLoop, FitTable, Set, StagesUnit, missing};
use crate::data::Data;
use crate::engine::{Engine, ToDevice};
use crate::run::{Evaluate, Report, Train};
use crate::runner::train_in_cycles;
use crate::{Callback, Error, Fit};

/// The length of a [`sanity_check`](FitLoop::sanity_check) or a [`profile`](FitLoop::profile).
///
/// ```
/// use regimen::fitloop::DryRun;
/// let _ = DryRun::epochs(2).steps(5);
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct DryRun {
    epochs: u64,
    steps: Option<u64>,
    uses_test_data: bool,
}

impl DryRun {
    /// Of `n` epochs over all batches.
    pub const fn epochs(n: u64) -> Self {
        DryRun { epochs: n, steps: None, uses_test_data: false }
    }

    /// Caps every epoch, of each set, at `n` batches.
    pub const fn steps(self, n: u64) -> Self {
        DryRun { steps: Some(n), ..self }
    }

    /// Runs the stages of the test set over its data. By default they run over the validation data, if there are any.
    pub const fn use_test_data(self) -> Self {
        DryRun { uses_test_data: true, ..self }
    }

    /// The set whose data the stages of the test set run over, given whether there are validation data.
    pub(super) fn tested(&self, has_valid: bool) -> Set {
        if self.uses_test_data || !has_valid { Set::Test } else { Set::Valid }
    }

    /// `RUNNING SANITY CHECK: TRAIN LOOP - 2 EPOCH(s), 5 STEP(s)`, and the same for the test.
    pub(super) fn title(&self, task: &str, set: Set) -> String {
        let steps = self.steps.map_or_else(|| "all".to_owned(), |steps| steps.to_string());
        match set {
            Set::Test => format!("RUNNING {task}: TEST LOOP - {steps} STEP(s)"),
            _ => format!("RUNNING {task}: TRAIN LOOP - {} EPOCH(s), {steps} STEP(s)", self.epochs),
        }
    }
}

/// The reports of a [`sanity_check`](FitLoop::sanity_check). As text it has the records of every epoch, as a
/// [`FitTable`] prints them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SanityCheck {
    /// That of training and validation.
    pub train: Report,
    /// That of the test stages. `None` if there are no [test data](FitLoop::test_data).
    pub test: Option<Report>,
    text: String,
}

impl fmt::Display for SanityCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.trim_end())
    }
}

impl<E: Engine, X, Y, O> FitLoop<'_, E, X, Y, O>
where
    X: ToDevice<E::Device>,
    Y: ToDevice<E::Device>,
{
    /// Runs every stage for a few batches, to see that it works: training and validation, and then the test stages if
    /// there are [test data](FitLoop::test_data). Everything is put back as it was, also after an error: see
    /// [`Run::dry_run`](crate::Run::dry_run). A stage that counts in variables of its own keeps its counts.
    ///
    /// ```
    /// # use regimen::engine::Engine;
    /// # use regimen::fitloop::{DryRun, FitLoop, Stages};
    /// # use regimen::engine::ToDevice;
    /// # fn example<E: Engine, X, Y, O>(mut trainer: FitLoop<'_, E, X, Y, O>) -> Result<(), regimen::Error>
    /// # where
    /// #     X: ToDevice<E::Device>,
    /// #     Y: ToDevice<E::Device>,
    /// # {
    /// println!("{}", trainer.sanity_check(DryRun::epochs(2).steps(5))?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// ```text
    /// RUNNING SANITY CHECK: TRAIN LOOP - 2 EPOCH(s), 5 STEP(s)
    /// [1/2] - train :: loss: 2.3036 | accuracy: 0.0875
    /// ```
    pub fn sanity_check(&mut self, length: DryRun) -> Result<SanityCheck, Error> {
        let text = Text::default();
        let title = |set| {
            let gap = if set == Set::Test { "\n" } else { "" };
            text.lock().extend(format!("{gap}{}\n", length.title("SANITY CHECK", set)).bytes());
        };
        let (train, test) = self.dry_run("sanity_check", length, FitTable::to(text.clone()), title)?;
        let text = String::from_utf8_lossy(&text.lock()).into_owned();
        Ok(SanityCheck { train, test, text })
    }

    /// Runs `length` with `callback`, and puts everything back. `begin` is called before the training and the test.
    pub(super) fn dry_run(
        &mut self,
        call: &str,
        length: DryRun,
        callback: impl Callback<StagesUnit<E, X, Y, O>> + 'static,
        mut begin: impl FnMut(Set),
    ) -> Result<(Report, Option<Report>), Error> {
        let FitLoop { runner, data: [train, valid, test], .. } = self;
        let train = train.as_ref().ok_or_else(|| missing(call, Set::Train))?;
        let valid = valid.as_ref();
        // That of the fits is not judged here.
        runner.unit_mut().task_mut().score = None;
        let ran = runner.run().dry_run(|dry| {
            let mut dry = dry.callback(callback);
            begin(Set::Train);
            let trained = match (valid, length.steps) {
                (Some(valid), None) => dry.fit(train, valid, Fit::epochs(length.epochs)),
                (Some(valid), Some(n)) => {
                    dry.fit(train, valid, Fit::epochs(length.epochs).steps_per_epoch(n).eval_steps(n))
                }
                (None, steps) => {
                    let limits = Train::epochs(length.epochs);
                    let limits = steps.map_or(limits, |n| limits.steps_per_epoch(n));
                    train_in_cycles(&mut dry, train, limits)
                }
            }?;
            let Some(test) = test else { return Ok((trained, None)) };
            begin(Set::Test);
            let data = match (length.tested(valid.is_some()), valid) {
                (Set::Valid, Some(valid)) => valid,
                _ => test,
            };
            let stages = dry.unit_mut().task_mut();
            (stages.tests, stages.sizes[Set::Test as usize]) = (true, data.samples());
            let tested = dry.evaluate(data, length.steps.map_or(Evaluate::whole(), Evaluate::steps))?;
            Ok((trained, Some(tested)))
        });
        let stages = runner.unit_mut().task_mut();
        stages.tests = false;
        stages.sizes[Set::Test as usize] = test.as_ref().and_then(Data::samples);
        ran?
    }
}

/// Text that a table writes.
#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
