//! The error of this crate: what failed, and where in the run.

pub(crate) mod guard;

use std::borrow::Cow;
use std::fmt;

use crate::callback::Event;
use crate::state::Phase;

/// What user code returns: any error that can cross a thread.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A run, or the setting up of one, failed.
///
/// The message names the [place](Place); the cause is in
/// [`source`](std::error::Error::source).
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    place: Place,
    cause: BoxError,
    suppressed: Vec<Error>,
}

/// What sort of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A setting cannot be used: a cadence of zero, two parts of one name.
    Config,
    /// A unit's step or hook returned an error.
    Unit,
    /// A callback returned an error.
    Callback,
    /// The data returned an error, or gave nothing where something is due.
    Data,
    /// The closure that `predict` hands its outputs to returned an error.
    Sink,
    /// State could not be saved or loaded.
    State,
    /// A call into a unit, a callback, the data or the sink panicked.
    Panic,
}

/// Whose code failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The settings of the run.
    Settings,
    /// A method of the unit, by its name.
    Unit(&'static str),
    /// A callback, by its name, at an event.
    Callback(String, Event),
    /// A callback, by its name, while it was told of another error.
    OnError(String),
    /// The data of the phase.
    Data,
    /// The sink of `predict`.
    Sink,
    /// The saver or the state it handles.
    State,
}

/// Where in a run something failed. Counters are those of the phase, and count completed things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose code failed.
    pub source: Source,
    /// The phase that was active; none where the run had not begun.
    pub phase: Option<Phase>,
    /// Completed epochs of that phase.
    pub epoch: u64,
    /// Completed steps of that phase, over all epochs.
    pub step: u64,
}

impl Error {
    /// An error of `kind` at `place` with its `cause`.
    pub fn new(kind: Kind, place: Place, cause: impl Into<BoxError>) -> Self {
        Error(Box::new(Inner { kind, place, cause: cause.into(), suppressed: Vec::new() }))
    }

    /// An error in the settings, before anything ran.
    pub fn config(cause: impl Into<BoxError>) -> Self {
        let place = Place { source: Source::Settings, phase: None, epoch: 0, step: 0 };
        Error::new(Kind::Config, place, cause)
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Where it happened.
    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// Failures that happened while this one was handled, in order: panics of `on_error` hooks.
    pub fn suppressed(&self) -> &[Error] {
        &self.0.suppressed
    }

    /// The cause, by value.
    pub fn into_cause(self) -> BoxError {
        self.0.cause
    }

    pub(crate) fn suppress(&mut self, other: Error) {
        self.0.suppressed.push(other);
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, place, cause, .. } = &*self.0;
        let verb = if *kind == Kind::Panic { "panicked" } else { "failed" };
        match &place.source {
            Source::Settings => return write!(f, "{cause}"),
            Source::Unit(method) => write!(f, "unit {verb} in {method}")?,
            Source::Callback(name, event) => write!(f, "callback {name} {verb} at {event}")?,
            Source::OnError(name) => write!(f, "callback {name} {verb} in on_error")?,
            Source::Data => write!(f, "data {verb}")?,
            Source::Sink => write!(f, "sink {verb}")?,
            Source::State => write!(f, "state {verb}")?,
        }
        if let Some(phase) = place.phase {
            write!(f, " in {phase} at epoch {} step {}", place.epoch, place.step)?;
        }
        write!(f, ": {cause}")
    }
}

/// As [`Display`](fmt::Display), since a `main` that returns it prints this, with what was suppressed in
/// lines of their own.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        self.suppressed().iter().try_for_each(|other| write!(f, "\nwhile that was handled: {other}"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0.cause)
    }
}

/// The text of a panic's payload.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> Cow<'static, str> {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        Cow::Borrowed(text)
    } else if let Some(text) = payload.downcast_ref::<String>() {
        Cow::Owned(text.clone())
    } else {
        Cow::Borrowed("a panic whose payload is not text")
    }
}
