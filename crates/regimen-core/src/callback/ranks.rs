//! Ranks on which a callback or a saver runs.

use crate::data::Rank;

/// The ranks on which a callback is sent events, or a saver saves: see
/// [`Callback::ranks`](crate::Callback::ranks) and [`Saver::ranks`](crate::run::Saver::ranks).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ranks {
    /// All ranks.
    #[default]
    All,
    /// The first alone: for those that write to files or a terminal.
    First,
}

impl Ranks {
    /// Whether `rank` is one of them.
    pub const fn contain(self, rank: Rank) -> bool {
        match self {
            Ranks::All => true,
            Ranks::First => rank.is_first(),
        }
    }
}
