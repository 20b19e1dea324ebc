//! How far a call of an entry point goes.

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

            /// Until `n` samples, or the few more of the last batch, were trained on. An epoch
            /// under way then stays open.
            pub const fn samples(n: u64) -> Self {
                $config::new(Limits { samples: Some(n), ..Limits::NONE })
            }

            /// Until something stops the run: a callback, the unit, a [`PauseHandle`](crate::state::PauseHandle).
            pub const fn until_stopped() -> Self {
                $config::new(Limits::NONE)
            }

            /// Ends at `n` completed epochs too.
            pub const fn max_epochs(mut self, n: u64) -> Self {
                self.limits.epochs = Some(n);
                self
            }

            /// Ends at `n` completed steps too.
            pub const fn max_steps(mut self, n: u64) -> Self {
                self.limits.steps = Some(n);
                self
            }

            /// Ends at `n` samples too.
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

/// How far [`train`](super::train) goes.
///
/// Limits are totals since the very beginning: a run resumed at step 70 with a limit of 100 makes
/// 30 more. A limit of zero, or one that is reached already, does nothing and is no error. Where
/// several are given the first that is reached ends the call.
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

    /// Lets an epoch be without a single batch, which is an error otherwise.
    pub const fn allow_empty(mut self) -> Self {
        self.limits.allow_empty = true;
        self
    }
}

/// How far [`fit`](super::fit) goes, and when it evaluates: after every epoch unless told
/// otherwise. Limits count training, as in [`Train`].
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

    /// Evaluates at this cadence of the training, in place of after every epoch: every n steps,
    /// every n epochs, or both. An evaluation that is due after a step comes right after it.
    pub const fn eval_every(mut self, every: Every) -> Self {
        self.eval_every = every;
        self
    }

    /// Caps each evaluation at `n` steps.
    pub const fn eval_steps(mut self, n: u64) -> Self {
        self.eval.steps = Some(n);
        self
    }

    /// Lets an epoch be without a single batch, in training and evaluation.
    pub const fn allow_empty(mut self) -> Self {
        self.limits.allow_empty = true;
        self.eval.allow_empty = true;
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        self.eval_every.check("`Fit::eval_every`")
    }
}

/// How far [`evaluate`](super::evaluate) goes.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Evaluate {
    pub(crate) steps: Option<u64>,
    pub(crate) allow_empty: bool,
    pub(crate) resume: Option<&'static str>,
}

/// How far [`predict`](super::predict) goes.
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

    /// Lets the data be without a single batch, which is an error otherwise.
    pub const fn allow_empty(mut self) -> Self {
        self.allow_empty = true;
        self
    }

    /// Names the pass, and goes on with the one of this name that was paused or failed. One that is
    /// finished is not made again: an evaluation reports what it measured, a prediction gives no
    /// output. A checkpoint holds the passes that have names, so both outlive the process. Without a
    /// name, every call begins anew.
    ///
    /// After further steps of training a pass begins anew too, and a notice says so: it would be a mix of
    /// two models. Weights that are changed through [`Run::unit_mut`](crate::Run::unit_mut) are not seen.
    ///
    /// ```
    /// use regimen_core::run::Predict;
    /// let _ = Predict::whole().resume("test set");
    /// ```
    pub const fn resume(mut self, name: &'static str) -> Self {
        self.resume = Some(name);
        self
    }

    /// One epoch, to be completed whatever was completed before.
    pub(crate) fn limits(&self) -> Limits {
        Limits { steps_per_epoch: self.steps, allow_empty: self.allow_empty, ..Limits::NONE }
    }
}
