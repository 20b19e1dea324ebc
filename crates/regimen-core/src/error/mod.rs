//! The error of this crate: the cause and its place in the run.

pub(crate) mod guard;
mod not_finite;
mod out_of_memory;
pub(crate) mod placed;
mod with_causes;

pub use guard::panic_text;
pub use not_finite::NotFinite;
pub use with_causes::WithCauses;

use std::fmt;

use crate::callback::Event;
use crate::state::Phase;

/// The error of user code: any error that can cross a thread.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A run, or its setup, failed.
///
/// `{}` is one line with the code that failed and its place; the cause is in
/// [`source`](std::error::Error::source). `{:#}` is that line followed by all causes. `{:?}` is the
/// same, with each [suppressed](Error::suppressed) error in a separate line, so a `main` that returns
/// the error prints all of it.
///
/// ```
/// use regimen_core::error::{Error, ErrorKind, Place};
/// let place = Place { phase: None, epoch: 0, step: 0 };
/// let error = Error::new(ErrorKind::Data, place, "no such file");
/// assert_eq!(format!("{error}"), "data failed");
/// assert_eq!(format!("{error:#}"), "data failed: no such file");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    place: Place,
    panicked: bool,
    cause: BoxError,
    suppressed: Vec<Error>,
}

/// The code that an [`Error`] comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting that cannot be used, such as a cadence of zero or two parts of one name.
    Config,
    /// A method of the unit, by its name.
    Unit(&'static str),
    /// A callback, by its name, at an event.
    Callback(String, Event),
    /// A callback, by its name, in [`on_error`](crate::Callback::on_error), called for another error.
    OnError(String),
    /// The data of the phase: it returned an error, or gave no batch though one is due.
    Data,
    /// The sink of `predict`.
    Sink,
    /// The saver, or the state that it saves and loads.
    State,
    /// An agreement with the other ranks.
    Peers,
}

/// The place in a run. Counters are those of the phase, and count completed things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The active phase; `None` if the run had not begun.
    pub phase: Option<Phase>,
    /// Completed epochs of that phase.
    pub epoch: u64,
    /// Completed steps of that phase, over all epochs.
    pub step: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.phase {
            Some(phase) => write!(f, "{phase} at epoch {} step {}", self.epoch, self.step),
            None => f.write_str("a run that had not begun"),
        }
    }
}

impl Error {
    /// An error of `kind` at `place` with its `cause`.
    pub fn new(kind: ErrorKind, place: Place, cause: impl Into<BoxError>) -> Self {
        Error(Box::new(Inner { kind, place, panicked: false, cause: cause.into(), suppressed: Vec::new() }))
    }

    /// An error in the settings, before anything ran.
    pub fn config(cause: impl Into<BoxError>) -> Self {
        Error::new(ErrorKind::Config, Place { phase: None, epoch: 0, step: 0 }, cause)
    }

    /// The code that failed.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The place of the failure.
    pub fn place(&self) -> Place {
        self.0.place
    }

    /// Whether that code panicked instead of returning an error. The cause is the text of the panic.
    pub fn is_panic(&self) -> bool {
        self.0.panicked
    }

    /// Whether an allocation failed, on the host or on a device: to try again with a smaller batch.
    ///
    /// Engines have no type for this, so it is read from the texts of the cause and of its causes. They are
    /// those of libtorch, CUDA, Vulkan, the backends of Burn and the operating system.
    ///
    /// ```
    /// # use regimen_core::Error;
    /// let error = Error::config("CUDA out of memory. Tried to allocate 20.00 MiB");
    /// assert!(error.is_out_of_memory());
    /// ```
    pub fn is_out_of_memory(&self) -> bool {
        causes(&*self.0.cause).any(|cause| out_of_memory::tells(&cause.to_string()))
    }

    /// Whether a loss, a gradient or a weight is not finite: whether [`NotFinite`] is among the causes.
    pub fn is_not_finite(&self) -> bool {
        self.not_finite().is_some()
    }

    /// The training step whose batch made a number that is not finite. The first step is 0. A number that the
    /// unit finds at the end of a training epoch or of training is of the last step, unless it says otherwise.
    /// Returns `None` for other errors, and if no step is to blame.
    pub fn not_finite_step(&self) -> Option<u64> {
        let done = self.0.place.step;
        let failed = match self.0.kind {
            ErrorKind::Unit("train_step") => Some(done),
            ErrorKind::Unit("on_train_epoch_end" | "on_train_end") => done.checked_sub(1),
            _ => None,
        };
        self.not_finite()?.step().or(failed)
    }

    fn not_finite(&self) -> Option<&NotFinite> {
        causes(&*self.0.cause).find_map(|cause| cause.downcast_ref())
    }

    /// Failures that happened while this one was handled, in order, such as panics in `on_error`.
    pub fn suppressed(&self) -> &[Error] {
        &self.0.suppressed
    }

    /// The cause, by value.
    pub fn into_cause(self) -> BoxError {
        self.0.cause
    }

    /// Adds a failure that happened while this one was handled.
    pub fn suppress(&mut self, other: Error) {
        self.0.suppressed.push(other);
    }

    /// The same error, of code that panicked.
    pub(crate) fn by_panic(mut self) -> Self {
        self.0.panicked = true;
        self
    }
}

/// An error and its causes.
pub(crate) fn causes<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return fmt::Display::fmt(&WithCauses(self), f);
        }
        let Inner { kind, place, panicked, cause, .. } = &*self.0;
        let failed = if *panicked { "panicked" } else { "failed" };
        match kind {
            ErrorKind::Config => return write!(f, "{cause}"),
            ErrorKind::Unit(method) => write!(f, "unit {failed} in {method}")?,
            ErrorKind::Callback(name, event) => write!(f, "callback {name} {failed} at {event}")?,
            ErrorKind::OnError(name) => write!(f, "callback {name} {failed} in on_error")?,
            ErrorKind::Data => write!(f, "data {failed}")?,
            ErrorKind::Sink => write!(f, "sink {failed}")?,
            ErrorKind::State => write!(f, "state {failed}")?,
            ErrorKind::Peers => write!(f, "agreement of the ranks {failed}")?,
        }
        match place.phase {
            Some(_) => write!(f, " in {place}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&WithCauses(self), f)?;
        self.suppressed().iter().try_for_each(|other| write!(f, "\nwhile that was handled: {other:#}"))
    }
}

impl std::error::Error for Error {
    /// The cause. An error in the settings displays as its cause, so this is the source of that cause.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.0.kind {
            ErrorKind::Config => self.0.cause.source(),
            _ => Some(&*self.0.cause),
        }
    }
}
