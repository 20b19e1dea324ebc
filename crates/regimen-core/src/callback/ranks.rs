//! Which ranks a callback is for.

use crate::data::Rank;

/// On which of several ranks a callback is sent events: see [`Callback::ranks`](crate::Callback::ranks).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ranks {
    /// On each.
    #[default]
    All,
    /// On the first alone: for what writes files, or to a terminal.
    First,
}

impl Ranks {
    /// Whether `rank` is one of them.
    pub const fn contain(self, rank: Rank) -> bool {
        match self {
            Ranks::All => true,
            Ranks::First => rank.index == 0,
        }
    }
}
