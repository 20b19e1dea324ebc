//! The error that every rank has.

use std::error::Error;
use std::fmt;

use crate::error::causes;

/// An error that every rank has, such as that of `agree` of [`Peers`](super::Peers). A call that fails with it does not
/// [abort](super::Peers::abort) those of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreedError(String);

impl AgreedError {
    /// An error with this text, which is to be made on every rank.
    pub fn new(text: impl Into<String>) -> Self {
        AgreedError(text.into())
    }

    /// Whether `error` is one, or is caused by one.
    pub fn is_in(error: &(dyn Error + 'static)) -> bool {
        causes(error).any(|error| error.is::<AgreedError>())
    }
}

impl fmt::Display for AgreedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for AgreedError {}
