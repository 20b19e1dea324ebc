//! Entry points of a run.

use super::Phase;

/// An entry point of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryPoint {
    /// [`Run::train`](crate::Run::train).
    Train,
    /// [`Run::fit`](crate::Run::fit).
    Fit,
    /// [`Run::evaluate`](crate::Run::evaluate).
    Evaluate,
    /// [`Run::predict`](crate::Run::predict).
    Predict,
}

impl EntryPoint {
    /// The phase that the call is for.
    pub const fn phase(self) -> Phase {
        match self {
            EntryPoint::Train | EntryPoint::Fit => Phase::Train,
            EntryPoint::Evaluate => Phase::Eval,
            EntryPoint::Predict => Phase::Predict,
        }
    }
}
