//! The error of a call in which a rank was lost.

use std::error::Error;
use std::fmt;

use crate::error::causes;

/// The error of a [collective](super::Peers) if a rank is gone, is too late, or has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerLost(String);

impl PeerLost {
    /// An error with this text. It names the rank and the cause, if they are known.
    pub fn new(text: impl Into<String>) -> Self {
        PeerLost(text.into())
    }

    /// Whether `error` is one, or is caused by one.
    ///
    /// ```
    /// use regimen_core::BoxError;
    /// use regimen_core::peers::PeerLost;
    ///
    /// let error = BoxError::from(PeerLost::new("rank 2 failed: the disk is full"));
    /// assert!(PeerLost::is_in(&*error));
    /// assert!(!PeerLost::is_in(&*BoxError::from("the disk is full")));
    /// ```
    pub fn is_in(error: &(dyn Error + 'static)) -> bool {
        causes(error).any(|error| error.is::<PeerLost>())
    }
}

impl fmt::Display for PeerLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for PeerLost {}
