//! Limits of a call of an entry point.

use crate::Error;
use crate::callback::Every;
use crate::state::Progress;

/// Totals at which training ends, and the cap of an epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) epochs: Option<u64>,
    pub(crate) steps: Option<u64>,
    pub(crate) samples: Option<u64>,
    pub(crate) steps_per_epoch: Option<u64>,
    pub(crate) allow_empty: bool,
}

impl Limits {
    const NONE: Limits =
        Limits { epochs: None, steps: None, samples: None, steps_per_epoch: None, allow_empty: false };

    /// Whether `progress` has reached a limit.
    pub(crate) fn reached(&self, progress: Progress) -> bool {
        let reached = |limit: Option<u64>, done: u64| limit.is_some_and(|limit| limit <= done);
        reached(self.epochs, progress.epochs)
            || reached(self.steps, progress.steps)
            || reached(self.samples, progress.samples)
            || self.steps_per_epoch == Some(0)
    }
}

macro_rules! limits {
    ($config:ident) => {
        impl $config {
            /// Until `n` epochs are complete.
            pub const fn epochs(n: u64) -> Self {
                $config::new(Limits { epochs: Some(n), ..Limits::NONE })
            }

            /// Until `n` steps are complete. An epoch under way then stays open.
            pub const fn steps(n: u64) -> Self {
                $config::new(Limits { steps: Some(n), ..Limits::NONE })
            }

            /// Until at least `n` samples were trained on, as whole batches. An epoch under way then
            /// stays open.
            pub const fn samples(n: u64) -> Self {
                $config::new(Limits { samples: Some(n), ..Limits::NONE })
            }

            /// Until something stops the run: a callback, the unit, a [`PauseHandle`](crate::state::PauseHandle).
            pub const fn until_stopped() -> Self {
                $config::new(Limits::NONE)
            }

            /// Also ends at `n` completed epochs.
            pub const fn max_epochs(mut self, n: u64) -> Self {
                self.limits.epochs = Some(n);
                self
            }

            /// Also ends at `n` completed steps.
            pub const fn max_steps(mut self, n: u64) -> Self {
                self.limits.steps = Some(n);
                self
            }

            /// Also ends at `n` samples.
            pub const fn max_samples(mut self, n: u64) -> Self {
                self.limits.samples = Some(n);
                self
            }

            /// Caps a training epoch at `n` steps: the epoch ends there as if the data did.
            pub const fn steps_per_epoch(mut self, n: u64) -> Self {
                self.limits.steps_per_epoch = Some(n);
                self
            }
        }
    };
}
limits!(Train);
limits!(Fit);

/// The limits of [`train`](super::train).
///
/// Limits are totals since the very beginning: a run resumed at step 70 with a limit of 100 makes 30
/// more. A limit of zero, or one that is reached already, does nothing and is no error. If several are
/// given, the first that is reached ends the call.
///
/// ```
/// use regimen_core::run::Train;
/// let _ = Train::epochs(10).max_steps(5_000).steps_per_epoch(1_000);
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Train {
    pub(crate) limits: Limits,
}

impl Train {
    const fn new(limits: Limits) -> Self {
        Train { limits }
    }

    /// Accepts an epoch without a batch, which is an error otherwise.
    pub const fn allow_empty(mut self) -> Self {
        self.limits.allow_empty = true;
        self
    }
}

/// The limits of [`fit`](super::fit) and the cadence of its evaluations. Default: after every epoch.
/// Limits count training, as in [`Train`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Fit {
    pub(crate) limits: Limits,
    pub(crate) eval: Evaluate,
    pub(crate) eval_every: Every,
}

impl Fit {
    const fn new(limits: Limits) -> Self {
        Fit { limits, eval: Evaluate::whole(), eval_every: Every::epochs(1) }
    }

    /// Evaluates at this cadence of the training instead of after every epoch: every n steps, every n
    /// epochs, or both. An evaluation that is due after a step comes right after it.
    pub const fn eval_every(mut self, every: Every) -> Self {
        self.eval_every = every;
        self
    }

    /// Caps each evaluation at `n` steps.
    pub const fn eval_steps(mut self, n: u64) -> Self {
        self.eval.steps = Some(n);
        self
    }

    /// Accepts an epoch without a batch, in training and evaluation.
    pub const fn allow_empty(mut self) -> Self {
        self.limits.allow_empty = true;
        self.eval.allow_empty = true;
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        self.eval_every.check("`Fit::eval_every`")
    }
}

/// The same limits, without evaluations. One that is due is dropped.
impl From<Train> for Fit {
    fn from(config: Train) -> Self {
        Fit { limits: config.limits, eval: Evaluate::steps(0), eval_every: Every::NEVER }
    }
}

/// The limits of [`evaluate`](super::evaluate).
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Evaluate {
    pub(crate) steps: Option<u64>,
    pub(crate) allow_empty: bool,
    pub(crate) resume: Option<&'static str>,
}

/// The limits of [`predict`](super::predict).
pub type Predict = Evaluate;

impl Evaluate {
    /// Over all of the data.
    pub const fn whole() -> Self {
        Evaluate { steps: None, allow_empty: false, resume: None }
    }

    /// Over the first `n` batches.
    pub const fn steps(n: u64) -> Self {
        Evaluate { steps: Some(n), allow_empty: false, resume: None }
    }

    /// Accepts data without a batch, which is an error otherwise.
    pub const fn allow_empty(mut self) -> Self {
        self.allow_empty = true;
        self
    }

    /// Names the pass. A pass of this name that was paused or failed continues. One that is finished is
    /// not repeated: an evaluation reports its metrics again, a prediction gives no output. Checkpoints
    /// hold the named passes, so both outlive the process. Without a name, every call starts from the
    /// beginning.
    ///
    /// After further training steps a pass starts from the beginning too, with a notice: it would be a
    /// mix of two models. Weights that are changed through [`Run::unit_mut`](crate::Run::unit_mut) are
    /// not seen: [`Run::set_other_weights`](crate::Run::set_other_weights) tells of them.
    ///
    /// ```
    /// use regimen_core::run::Predict;
    /// let _ = Predict::whole().resume("test set");
    /// ```
    pub const fn resume(mut self, name: &'static str) -> Self {
        self.resume = Some(name);
        self
    }

    /// One epoch, regardless of earlier ones.
    pub(crate) fn limits(&self) -> Limits {
        Limits { steps_per_epoch: self.steps, allow_empty: self.allow_empty, ..Limits::NONE }
    }
}
