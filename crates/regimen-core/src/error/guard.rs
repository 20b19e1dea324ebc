//! Guarded calls of foreign code: a panic in it becomes an error.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::ErrorKind;
use crate::{BoxError, Error, State};

/// The failure of a call, before it has a place.
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
            let text = panic_text(&*payload).to_owned();
            // The drop of a payload may panic, and nothing would catch that.
            std::mem::forget(payload);
            Err(Caught::Panicked(text))
        }
    }
}

impl Caught {
    /// The error of `kind`, at the place of `state`.
    pub(crate) fn at(self, state: &State, kind: ErrorKind) -> Error {
        let place = state.place();
        match self {
            Caught::Failed(cause) => Error::new(kind, place, cause),
            Caught::Panicked(text) => Error::new(kind, place, text).by_panic(),
        }
    }
}

/// The text of a panic's payload, as `catch_unwind` and `JoinHandle::join` return it.
///
/// ```
/// use regimen_core::error::panic_text;
/// let payload = std::panic::catch_unwind(|| panic!("no room")).unwrap_err();
/// assert_eq!(panic_text(&*payload), "no room");
/// ```
pub fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic whose payload is not text")
}
