//! The end of an epoch over several sources.

/// The end of an epoch over several sources. A source is exhausted if it has no batch when one is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stopping {
    /// When all are exhausted. One that is exhausted earlier is passed over from then on.
    #[default]
    AllExhausted,
    /// When one is exhausted.
    SmallestExhausted,
    /// When all were exhausted once. One that is exhausted earlier starts over.
    RestartUntilAllExhausted,
    /// Never: every source starts over. The run needs a limit.
    WrapAround,
}
