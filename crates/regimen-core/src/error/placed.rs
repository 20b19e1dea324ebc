//! An error behind the name of the part that it comes from.

use std::error::Error;
use std::fmt;

use super::WithCauses;
use crate::BoxError;

/// `cause` with all its causes, behind a text that says where it comes from. It is the source, so its type can
/// still be found.
pub(crate) fn placed(place: impl Into<String>, cause: BoxError) -> BoxError {
    Box::new(Placed { place: place.into(), cause })
}

#[derive(Debug)]
struct Placed {
    place: String,
    cause: BoxError,
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, WithCauses(&*self.cause))
    }
}

impl Error for Placed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.cause)
    }
}
