//! Calls into code that is not ours: a panic there is an error here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Kind, Place, Source};
use crate::error::panic_text;
use crate::{BoxError, Error, State};

/// What went wrong in a call, before it has a place.
#[derive(Debug)]
pub(crate) enum Caught {
    Failed(BoxError),
    Panicked(String),
}

/// Calls `f`, and catches its panic.
pub(crate) fn guard<R>(f: impl FnOnce() -> Result<R, BoxError>) -> Result<R, Caught> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result.map_err(Caught::Failed),
        Err(payload) => {
            let text = panic_text(&*payload).into_owned();
            // A payload is free to panic when it is dropped, and nothing would catch that.
            std::mem::forget(payload);
            Err(Caught::Panicked(text))
        }
    }
}

impl Caught {
    /// The error of `source`, at the place where `state` is.
    pub(crate) fn at(self, state: &State, source: Source) -> Error {
        let kind = match source {
            Source::Settings => Kind::Config,
            Source::Unit(_) => Kind::Unit,
            Source::Callback(..) | Source::OnError(_) => Kind::Callback,
            Source::Data => Kind::Data,
            Source::Sink => Kind::Sink,
            Source::State => Kind::State,
        };
        let progress = state.active();
        let place =
            Place { source, phase: Some(state.phase()), epoch: progress.epochs, step: progress.steps };
        match self {
            Caught::Failed(cause) => Error::new(kind, place, cause),
            Caught::Panicked(text) => Error::new(Kind::Panic, place, text),
        }
    }
}
