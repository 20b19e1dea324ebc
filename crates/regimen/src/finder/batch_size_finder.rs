//! The search for the largest batch that fits into memory.

use super::{BatchSizeTrial, BatchSizeTrials, refuse_ranks};
use crate::data::Data;
use crate::engine::Engine;
use crate::run::Train;
use crate::{AutoUnit, Error, Run, Task};

/// Finds the largest batch size whose training steps fit into memory.
///
/// A trial is an epoch of a few training steps with their updates, in a [dry run](Run::dry_run): weights, optimizer and
/// progress are put back. After one that runs out of memory the engine [releases](Engine::release_memory) what it keeps
/// for later. Whether memory ran out is known by [`Error::is_out_of_memory`].
///
/// Evaluations and other programs on the device need memory too, and a GPU is often not faster with the largest batch
/// than with the half of it. The system may end a program that fills the memory of the host: on a CPU set
/// [`most`](BatchSizeFinder::most).
///
/// ```
/// # use regimen::data::Loader;
/// # use regimen::engine::Engine;
/// # use regimen::{AutoUnit, Error, Run, Task};
/// use regimen::finder::BatchSizeFinder;
///
/// # fn example<E: Engine, T: Task<E>>(
/// #     mut run: Run<'_, AutoUnit<E, T>>,
/// #     loader: Loader<T::Batch>,
/// # ) -> Result<(), Error>
/// # where
/// #     T::Batch: Send + 'static,
/// # {
/// let found = BatchSizeFinder::power().find(&mut run, |size| loader.clone().batch_size(size))?;
/// let train = loader.batch_size(found.size());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct BatchSizeFinder {
    is_binary: bool,
    start: usize,
    steps: u64,
    most: Option<usize>,
}

impl BatchSizeFinder {
    /// Doubles the size until memory runs out. The result is the last size that fits.
    pub const fn power() -> Self {
        BatchSizeFinder { is_binary: false, start: 2, steps: 3, most: None }
    }

    /// Doubles the size until memory runs out, and then halves the distance between the sizes that fit and those that do
    /// not, down to 1.
    pub const fn binary() -> Self {
        BatchSizeFinder { is_binary: true, ..BatchSizeFinder::power() }
    }

    /// First size. Default: 2. If it does not fit, that is the error.
    pub const fn start(mut self, size: usize) -> Self {
        self.start = size;
        self
    }

    /// Number of steps per trial, at most, if the data have as many batches. Default: 3.
    pub const fn steps_per_trial(mut self, n: u64) -> Self {
        self.steps = n;
        self
    }

    /// Largest size to try. Default: the number of samples in the data, which is a bound in any case. For data of
    /// unknown size it must be given.
    pub const fn most(mut self, size: usize) -> Self {
        self.most = Some(size);
        self
    }

    /// Tries batches of different sizes, which `data` makes.
    ///
    /// A start of 0 or above the bound, trials of 0 steps, no bound, and a run of several ranks are errors. So is
    /// whatever fails in a trial for another reason than memory.
    pub fn find<E, T, D>(
        self,
        run: &mut Run<'_, AutoUnit<E, T>>,
        data: impl Fn(usize) -> D,
    ) -> Result<BatchSizeTrials, Error>
    where
        E: Engine,
        T: Task<E>,
        D: Data<Batch = T::Batch>,
    {
        let refused = |what: String| Err(Error::config(format!("`BatchSizeFinder`: {what}")));
        refuse_ranks("BatchSizeFinder", run)?;
        if self.start == 0 || self.steps == 0 {
            return refused("a batch of 0 samples, or a trial of 0 steps; give 1 or more".into());
        }
        let samples =
            data(self.start).samples().map(|samples| usize::try_from(samples).unwrap_or(usize::MAX));
        let Some(most) = self.most.into_iter().chain(samples).min() else {
            return refused("the data do not tell their number of samples; give `most`".into());
        };
        if most < self.start {
            return refused(format!("it starts with {}, and at most {most} are possible", self.start));
        }
        let mut trials = Vec::new();
        let mut fits = |size| -> Result<bool, Error> {
            let failed = self.failure(run, size, &data)?;
            let out_of_memory = failed.as_ref().map(|error| format!("{error:#}"));
            trials.push(BatchSizeTrial { size, out_of_memory });
            match failed {
                Some(error) if size == self.start => Err(error),
                failed => Ok(failed.is_none()),
            }
        };
        let (mut largest, mut next) = (self.start, self.start);
        // The smallest size that does not fit.
        let mut above = loop {
            if !fits(next)? {
                break next;
            }
            largest = next;
            if largest == most {
                break most;
            }
            next = largest.saturating_mul(2).min(most);
        };
        while self.is_binary && largest + 1 < above {
            let middle = largest + (above - largest) / 2;
            match fits(middle)? {
                true => largest = middle,
                false => above = middle,
            }
        }
        Ok(BatchSizeTrials::new(largest, trials))
    }

    /// The error of a trial that runs out of memory. Returns `None` if it fits.
    fn failure<E, T, D>(
        &self,
        run: &mut Run<'_, AutoUnit<E, T>>,
        size: usize,
        data: impl Fn(usize) -> D,
    ) -> Result<Option<Error>, Error>
    where
        E: Engine,
        T: Task<E>,
        D: Data<Batch = T::Batch>,
    {
        // The end of an epoch makes the update of a window that is not full.
        let limits = Train::epochs(1).steps_per_epoch(self.steps);
        match run.dry_run(|mut dry| dry.train(&data(size), limits).map(drop))? {
            Ok(()) => Ok(None),
            Err(error) if error.is_out_of_memory() => {
                let released = run.unit_mut().engine_mut().release_memory();
                released.map_err(|cause| Error::config(format!("`BatchSizeFinder`: {cause}")))?;
                Ok(Some(error))
            }
            Err(error) => Err(error),
        }
    }
}
